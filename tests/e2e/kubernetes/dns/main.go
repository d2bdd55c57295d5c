// Command dns is CoreDNS with the few plugins that the tests need.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/etcd"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order in which the plugins see a query, whatever their order in the configuration.
	dnsserver.Directives = []string{"bind", "errors", "kubernetes", "etcd", "template"}
	coremain.Run()
}
