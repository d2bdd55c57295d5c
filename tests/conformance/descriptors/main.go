// Command descriptors prints the descriptors of etcd's client API, as etcd's own Go packages
// register them, in the form of a serialized google.protobuf.FileDescriptorSet on standard output.
//
// The version of etcd is the one that go.mod requires. proto/tests/wire.rs compares our
// definitions with this output.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The files whose services a client can call. etcdserverpb has more files, which describe what
// etcd writes to its log; they are no part of the API.
var files = []protoreflect.FileDescriptor{
	mvccpb.File_kv_proto,
	authpb.File_auth_proto,
	etcdserverpb.File_rpc_proto,
	v3lockpb.File_v3lock_proto,
	v3electionpb.File_v3election_proto,
	healthpb.File_grpc_health_v1_health_proto,
}

func main() {
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range files {
		plain := protodesc.ToFileDescriptorProto(file)
		stripFile(plain)
		set.File = append(set.File, plain)
	}
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "descriptors:", err)
		os.Exit(1)
	}
}

// stripFile removes the options: they carry HTTP paths, the versions that introduced a field, and
// settings of code generators, and none of these is on the wire. Imports that only the options need
// stay listed in dependency, but their files are left out.
func stripFile(file *descriptorpb.FileDescriptorProto) {
	file.Options = nil
	for _, message := range file.MessageType {
		stripMessage(message)
	}
	for _, enum := range file.EnumType {
		stripEnum(enum)
	}
	for _, service := range file.Service {
		service.Options = nil
		for _, method := range service.Method {
			method.Options = nil
		}
	}
}

func stripMessage(message *descriptorpb.DescriptorProto) {
	message.Options = nil
	for _, field := range message.Field {
		field.Options = wireOptions(field.Options)
	}
	for _, oneof := range message.OneofDecl {
		oneof.Options = nil
	}
	for _, enum := range message.EnumType {
		stripEnum(enum)
	}
	for _, nested := range message.NestedType {
		stripMessage(nested)
	}
}

func stripEnum(enum *descriptorpb.EnumDescriptorProto) {
	enum.Options = nil
	for _, value := range enum.Value {
		value.Options = nil
	}
}

// wireOptions keeps the one option of a field that changes its encoding.
func wireOptions(options *descriptorpb.FieldOptions) *descriptorpb.FieldOptions {
	if options == nil || options.Packed == nil {
		return nil
	}
	return &descriptorpb.FieldOptions{Packed: options.Packed}
}
