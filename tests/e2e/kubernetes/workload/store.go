package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"k8s.io/apimachinery/pkg/runtime"
)

// A store is the store itself, read past the API server, whose cache may know what the store has lost.
type store struct{ *clientv3.Client }

// openStore connects with the certificates that pki.sh made, or others of the same names. The client's is read again for
// each connection, because it may be a short-lived one.
func openStore(endpoint, pki string) (*store, error) {
	authority, err := os.ReadFile(pki + "/store-ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		TLS: &tls.Config{RootCAs: roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(pki+"/store-client.crt", pki+"/store-client.key")
			return &certificate, err
		}},
	})
	return &store{client}, err
}

// A stored is an object's record in the store; its ModRevision is the object's resourceVersion.
type stored struct {
	version uint64
	lease   clientv3.LeaseID
	value   []byte
}

// read returns all objects of a resource at one revision, page by page, and that revision.
func (s *store) read(ctx context.Context, r *resource, opts ...clientv3.OpOption) (map[string]stored, uint64, error) {
	objects, from, end := map[string]stored{}, r.keys, clientv3.GetPrefixRangeEnd(r.keys)
	var revision int64
	for {
		page := append([]clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(500), clientv3.WithRev(revision)}, opts...)
		answer, err := s.Get(ctx, from, page...)
		if err != nil {
			return nil, 0, fmt.Errorf("reading %s from the store: %w", r.keys, err)
		}
		if revision == 0 {
			revision = answer.Header.Revision
		}
		for _, kv := range answer.Kvs {
			name := strings.TrimPrefix(string(kv.Key), r.keys)
			objects[name] = stored{uint64(kv.ModRevision), clientv3.LeaseID(kv.Lease), kv.Value}
		}
		if !answer.More {
			return objects, uint64(revision), nil
		}
		from = string(answer.Kvs[len(answer.Kvs)-1].Key) + "\x00"
	}
}

// find decodes an object's record as the API server would.
func (r *resource) find(s stored) (found, error) {
	if s.version == 0 {
		return found{}, nil
	}
	o, err := runtime.Decode(r.decode, s.value)
	if err != nil {
		return found{}, err
	}
	return found{hashOf(contentOf(o)), s.version}, nil
}

// checkLeases tells which leases of the records are gone: what hangs on one would never end.
func (s *store) checkLeases(ctx context.Context, records map[string]stored) (leases int, problems []string) {
	known := map[clientv3.LeaseID]bool{}
	for name, r := range records {
		if r.lease == clientv3.NoLease {
			problems = append(problems, fmt.Sprintf("events/%s: has no lease in the store", name))
			continue
		}
		if known[r.lease] {
			continue
		}
		known[r.lease] = true
		answer, err := s.TimeToLive(ctx, r.lease)
		if err != nil {
			problems = append(problems, fmt.Sprintf("lease %x: %v", r.lease, err))
		} else if answer.TTL <= 0 {
			problems = append(problems, fmt.Sprintf("events/%s: its lease %x is gone", name, r.lease))
		}
	}
	return len(known), problems
}
