package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// users changes users and roles of its own, while authentication is off.
func (r *run) users() string {
	name := r.key("user")
	_, err := r.UserAdd(r.ctx, name, "password")
	must(err)
	_, again := r.UserAdd(r.ctx, name, "password")
	_, err = r.RoleAdd(r.ctx, name)
	must(err)
	_, err = r.RoleGrantPermission(r.ctx, name, "a", "b", clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	_, err = r.UserGrantRole(r.ctx, name, name)
	must(err)
	user, err := r.UserGet(r.ctx, name)
	must(err)
	role, err := r.RoleGet(r.ctx, name)
	must(err)
	_, err = r.UserDelete(r.ctx, name)
	must(err)
	_, err = r.RoleDelete(r.ctx, name)
	must(err)
	_, gone := r.UserGet(r.ctx, name)
	permission := role.Perm[0]
	return fmt.Sprintf("%v; %d role, %s %s %s; %v", again, len(user.Roles), permission.PermType, permission.Key,
		permission.RangeEnd, gone)
}

// begin watches a key. The members learn of a token one after the other, and the client does not try again.
func (r *run) begin(client *clientv3.Client, key string) clientv3.WatchChan {
	for {
		watch := client.Watch(r.ctx, key, clientv3.WithCreatedNotify())
		created := <-watch
		if created.Created && !created.Canceled {
			return watch
		}
		if err := created.Err(); err == nil || !strings.Contains(err.Error(), "invalid auth token") {
			panic(fmt.Sprintf("the watch is not created: %+v", created))
		}
	}
}

// use watches, writes and reads a key.
func (r *run) use(client *clientv3.Client, name string) string {
	defer client.Close()
	key := r.key(name)
	watch := r.begin(client, key)
	granted, err := client.Grant(r.ctx, 60)
	must(err)
	_, err = client.Put(r.ctx, key, "1", clientv3.WithLease(granted.ID))
	must(err)
	events := r.events(watch, 1)
	_, err = client.Revoke(r.ctx, granted.ID)
	must(err)
	left, err := client.Get(r.ctx, key)
	must(err)
	return fmt.Sprintf("%s, then %d keys", events, left.Count)
}

var worker = clientv3.Config{Username: "worker", Password: "work"}

func (r *run) login() string {
	client, err := r.connect(worker)
	must(err)
	return r.use(client, "login")
}

func (r *run) wrongPassword() string {
	_, err := r.connect(clientv3.Config{Username: "worker", Password: "wrong"})
	return fmt.Sprint(err)
}

func (r *run) denied() string {
	client, err := r.connect(worker)
	must(err)
	defer client.Close()
	_, foreign := client.Put(r.ctx, "elsewhere", "1")
	_, admin := client.UserList(r.ctx)
	nobody, err := r.connect(clientv3.Config{})
	must(err)
	defer nobody.Close()
	_, anonymous := nobody.Get(r.ctx, r.key("login"))
	return fmt.Sprintf("%v; %v; %v", foreign, admin, anonymous)
}

// trust is the authority of the servers.
func (r *run) trust() *tls.Config {
	pem, err := os.ReadFile(filepath.Join(r.certificates, "ca.crt"))
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots}
}

func (r *run) overTLS() string {
	config := r.trust()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(r.certificates, "client.crt"),
		filepath.Join(r.certificates, "client.key"))
	must(err)
	config.Certificates = []tls.Certificate{certificate}
	client, err := r.connectSecurely(worker, config)
	must(err)
	return r.use(client, "tls")
}

func (r *run) withoutCertificate() string {
	client, err := r.connectSecurely(clientv3.Config{}, r.trust())
	// From 3.8 on, a new client already calls the server.
	if err != nil {
		return "refused"
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(r.ctx, refusedWithin)
	defer cancel()
	if _, err = client.Get(ctx, r.key("tls")); err == nil {
		return "served"
	}
	return "refused"
}
