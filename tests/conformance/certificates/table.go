package main

import (
	"crypto"
	"crypto/elliptic"
	_ "crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"time"
)

// newTable makes all cases. Each case has its own authorities, so that all of these can be trusted
// at once.
func newTable() *table {
	t := &table{}
	for _, part := range []func(*table){leaves, keys, roots, intermediates, extensions, constraints, names} {
		part(t)
	}
	t.strict = true
	stricter(t)
	return t
}

func usages(usages ...x509.ExtKeyUsage) change {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

func algorithm(algorithm x509.SignatureAlgorithm) change {
	return func(c *x509.Certificate) { c.SignatureAlgorithm = algorithm }
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
func early(c *x509.Certificate)   { c.NotBefore = time.Now().Add(time.Hour) }

func isAuthority(is bool) change {
	return func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid, c.MaxPathLen = is, true, -1 }
}

func noBasic(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid, c.MaxPathLen = false, false, 0 }

func length(length int) change {
	return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = length, length == 0 }
}

func keyUsage(usage x509.KeyUsage) change {
	return func(c *x509.Certificate) { c.KeyUsage = usage }
}

// single adds a case with a changed leaf certificate, issued by a good authority.
func (t *table) single(name string, changes ...change) {
	t.add(name, t.leaf(t.root(name, p256()), name, p256(), changes...))
}

// below adds a case with a good leaf certificate, issued by a changed root.
func (t *table) below(name string, changes ...change) {
	t.add(name, t.leaf(t.root(name, p256(), changes...), name, p256()))
}

// between adds a case with a good leaf certificate, issued by a changed intermediate certificate.
func (t *table) between(name string, changes ...change) {
	middle := t.authority(t.root(name, p256()), name+" middle", p256(), changes...)
	t.add(name, t.leaf(middle, name, p256()), middle)
}

func leaves(t *table) {
	t.single("plain")
	t.single("leaf-authority", isAuthority(true), keyUsage(x509.KeyUsageCertSign))
	t.single("leaf-no-authority", isAuthority(false))
	t.single("leaf-expired", expired)
	t.single("leaf-early", early)
	t.single("leaf-usage-any", usages(x509.ExtKeyUsageAny))
	t.single("leaf-usage-none", usages())
	t.single("leaf-usage-client", usages(x509.ExtKeyUsageClientAuth))
	t.single("leaf-usage-server", usages(x509.ExtKeyUsageServerAuth))
	t.single("leaf-usage-other", usages(x509.ExtKeyUsageCodeSigning))
	t.single("leaf-key-usage-encipherment", keyUsage(x509.KeyUsageKeyEncipherment))

	issuer := t.root("leaf-version-1", p256())
	t.add("leaf-version-1", remake(t.leaf(issuer, "leaf-version-1", p256()), issuer, crypto.SHA256, toVersion1))
	for _, self := range []struct {
		name    string
		trusted bool
		changes []change
	}{
		{"self-authority", true, []change{isAuthority(true)}},
		{"self-no-authority", true, []change{isAuthority(false)}},
		{"self-expired", true, []change{expired}},
		{"self-unknown", false, []change{isAuthority(true)}},
		{"self-usage-client", true, []change{usages(x509.ExtKeyUsageClientAuth)}},
	} {
		made := t.leaf(nil, self.name, p256(), self.changes...)
		if self.trusted {
			t.trust(made)
		}
		t.add(self.name, made)
	}
	self := t.leaf(nil, "self-version-1", p256())
	self = remake(self, self, crypto.SHA256, toVersion1)
	t.trust(self)
	t.add("self-version-1", self)
}

func keys(t *table) {
	for _, one := range []struct {
		name         string
		issuer, leaf crypto.Signer
		signature    x509.SignatureAlgorithm
	}{
		{"key-p384", p256(), ec(elliptic.P384()), 0},
		{"key-p521", p256(), ec(elliptic.P521()), 0},
		{"key-ed25519", p256(), ed(), 0},
		{"key-rsa", p256(), rsaKey(2048), 0},
		{"issuer-p384", ec(elliptic.P384()), p256(), 0},
		{"issuer-p521", ec(elliptic.P521()), p256(), 0},
		{"issuer-and-key-p521", ec(elliptic.P521()), ec(elliptic.P521()), 0},
		{"issuer-ed25519", ed(), p256(), 0},
		{"issuer-p256-sha384", p256(), p256(), x509.ECDSAWithSHA384},
		{"issuer-p256-sha512", p256(), p256(), x509.ECDSAWithSHA512},
		{"issuer-p384-sha256", ec(elliptic.P384()), p256(), x509.ECDSAWithSHA256},
		{"issuer-p384-sha512", ec(elliptic.P384()), p256(), x509.ECDSAWithSHA512},
		{"issuer-p521-sha256", ec(elliptic.P521()), p256(), x509.ECDSAWithSHA256},
		{"issuer-rsa-sha256", rsaKey(2048), p256(), x509.SHA256WithRSA},
		{"issuer-rsa-sha512", rsaKey(2048), p256(), x509.SHA512WithRSA},
		{"issuer-rsa-pss", rsaKey(2048), p256(), x509.SHA256WithRSAPSS},
	} {
		issuer := t.root(one.name, one.issuer)
		t.add(one.name, t.leaf(issuer, one.name, one.leaf, algorithm(one.signature)))
	}
	issuer := t.root("issuer-sha1", p256())
	t.add("issuer-sha1", remake(t.leaf(issuer, "issuer-sha1", p256()), issuer, crypto.SHA1, func(s *signed) {
		s.Body.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
		s.Algorithm = s.Body.Algorithm
	}))
	issuer = t.root("signature-broken", p256())
	other := t.authority(nil, "signature-broken root", p256())
	t.add("signature-broken", t.leaf(other, "signature-broken", p256()))
	issuer = t.root("signature-names-another", p256())
	t.add("signature-names-another",
		remake(t.leaf(issuer, "signature-names-another", p256()), issuer, crypto.SHA256, func(s *signed) {
			s.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
		}))
}

func roots(t *table) {
	t.below("root-no-authority", isAuthority(false))
	t.below("root-no-basic", noBasic)
	t.below("root-no-key-usage", keyUsage(0))
	t.below("root-key-usage-other", keyUsage(x509.KeyUsageDigitalSignature))
	t.below("root-expired", expired)
	t.below("root-early", early)
	t.below("root-usage-server", usages(x509.ExtKeyUsageServerAuth))
	t.below("root-usage-client", usages(x509.ExtKeyUsageClientAuth))
	t.below("root-usage-any", usages(x509.ExtKeyUsageAny))
	t.below("root-length-0", length(0))

	made := t.authority(nil, "root-version-1 root", p256())
	made = remake(made, made, crypto.SHA256, toVersion1)
	t.trust(made)
	t.add("root-version-1", t.leaf(made, "root-version-1", p256()))

	// The same authority, whose expired certificate is trusted, too.
	key := p256()
	t.root("root-renewed", key, expired)
	t.add("root-renewed", t.leaf(t.root("root-renewed", key), "root-renewed", p256()))
	// Another authority with the same name.
	t.root("root-namesake", p256())
	t.add("root-namesake", t.leaf(t.root("root-namesake", p256()), "root-namesake", p256()))
	unknown := t.authority(nil, "root-unknown root", p256())
	t.add("root-unknown", t.leaf(unknown, "root-unknown", p256()), unknown)
}

func intermediates(t *table) {
	t.between("middle")
	t.between("middle-no-authority", isAuthority(false))
	t.between("middle-no-basic", noBasic)
	t.between("middle-no-key-usage", keyUsage(0))
	t.between("middle-key-usage-other", keyUsage(x509.KeyUsageDigitalSignature))
	t.between("middle-expired", expired)
	t.between("middle-early", early)
	t.between("middle-usage-server", usages(x509.ExtKeyUsageServerAuth))
	t.between("middle-usage-client", usages(x509.ExtKeyUsageClientAuth))
	t.between("middle-usage-other", usages(x509.ExtKeyUsageCodeSigning))
	t.between("middle-length-0", length(0))

	root := t.root("middle-version-1", p256())
	middle := remake(t.authority(root, "middle-version-1 middle", p256()), root, crypto.SHA256, toVersion1)
	t.add("middle-version-1", t.leaf(middle, "middle-version-1", p256()), middle)
	middle = t.authority(t.root("middle-missing", p256()), "middle-missing middle", p256())
	t.add("middle-missing", t.leaf(middle, "middle-missing", p256()))
	middle = t.authority(t.authority(nil, "x", p256()), "middle-trusted middle", p256())
	t.trust(middle)
	t.add("middle-trusted", t.leaf(middle, "middle-trusted", p256()))
	for _, deep := range []struct {
		name   string
		length int
	}{{"length-too-short", 0}, {"length-long-enough", 1}} {
		middle = t.authority(t.root(deep.name, p256(), length(deep.length)), deep.name+" middle", p256())
		t.add(deep.name, t.leaf(middle, deep.name, p256()), middle)
	}
	middle = t.authority(t.root("middle-two", p256()), "middle-two middle", p256(), length(0))
	below := t.authority(middle, "middle-two below", p256())
	t.add("middle-two-too-short", t.leaf(below, "middle-two", p256()), below, middle)
	middle = t.authority(t.root("middle-order", p256()), "middle-order middle", p256())
	below = t.authority(middle, "middle-order below", p256())
	stranger := t.leaf(nil, "stranger", p256())
	t.add("middle-order", t.leaf(below, "middle-order", p256()), stranger, middle, below, middle)
	// Two authorities that issue certificates for each other. One of them issued the leaf.
	a, b := p256(), p256()
	first := t.authority(nil, "middle-loop a", a)
	second := t.authority(first, "middle-loop b", b)
	crossed := t.authority(second, "middle-loop a", a)
	t.add("middle-loop", t.leaf(second, "middle-loop", p256()), second, crossed)
	crossed = t.authority(t.root("middle-crossed", p256()), "middle-loop a", a)
	t.add("middle-crossed", t.leaf(second, "middle-crossed", p256()), second, crossed)
}

func extensions(t *table) {
	null := []byte{5, 0}
	t.single("critical-unknown", extension(true, null, 1, 2, 3, 4))
	t.single("unknown", extension(false, null, 1, 2, 3, 4))
	t.below("root-critical-unknown", extension(true, null, 1, 2, 3, 4))
	t.between("middle-critical-unknown", extension(true, null, 1, 2, 3, 4))
	t.single("key-identifier-critical", extension(true, must(asn1.Marshal([]byte{1})), 2, 5, 29, 14))
	t.single("issuer-identifier-critical", extension(true, []byte{0x30, 3, 0x80, 1, 1}, 2, 5, 29, 35))
	t.single("revocations-critical", extension(true, []byte{0x30, 0}, 2, 5, 29, 31))
	t.single("policies", func(c *x509.Certificate) {
		c.Policies = []x509.OID{must(x509.OIDFromInts([]uint64{1, 2, 3}))}
	})
	t.between("middle-inhibits-any-policy", extension(true, []byte{2, 1, 0}, 2, 5, 29, 54))
	t.single("basic-malformed", extension(true, null, 2, 5, 29, 19))
	t.single("usage-malformed", usages(), extension(false, null, 2, 5, 29, 37))
	t.single("usage-empty", usages(), extension(false, []byte{0x30, 0}, 2, 5, 29, 37))

	for name, edit := range map[string]func(*signed){
		"serial-negative": func(s *signed) { s.Body.Serial = big.NewInt(-5) },
		"serial-zero":     func(s *signed) { s.Body.Serial = big.NewInt(0) },
		"version-4":       func(s *signed) { s.Body.Version = 3 },
		"version-2":       func(s *signed) { s.Body.Version, s.Body.Extensions = 1, nil },
		"extension-twice": func(s *signed) { s.Body.Extensions = append(s.Body.Extensions, s.Body.Extensions[0]) },
	} {
		issuer := t.root(name, p256())
		t.add(name, remake(t.leaf(issuer, name, p256()), issuer, crypto.SHA256, edit))
	}
	trailing := t.leaf(t.root("trailing", p256()), "trailing", p256())
	trailing.raw = append(trailing.raw, 0)
	t.add("trailing", trailing)
}

// network is an address range.
func network(text string) *net.IPNet {
	_, network, err := net.ParseCIDR(text)
	return must(network, err)
}

func hosts(names ...string) change {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func constraints(t *table) {
	// constrained adds a case with a leaf issued by an authority with name constraints.
	constrained := func(name string, constrain, named change) {
		t.add(name, t.leaf(t.root(name, p256(), constrain), name, p256(), named))
	}
	nothing := func(*x509.Certificate) {}
	permitted := func(names ...string) change {
		return func(c *x509.Certificate) { c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, names }
	}
	excluded := func(names ...string) change {
		return func(c *x509.Certificate) { c.PermittedDNSDomainsCritical, c.ExcludedDNSDomains = true, names }
	}
	constrained("permits-host", permitted("good.example"), hosts("a.good.example", "GOOD.example"))
	constrained("permits-another-host", permitted("good.example"), hosts("a.good.example", "a.notgood.example"))
	constrained("permits-no-suffix", permitted("good.example"), hosts("notgood.example"))
	constrained("permits-below", permitted(".good.example"), hosts("a.good.example"))
	constrained("permits-only-below", permitted(".good.example"), hosts("good.example"))
	constrained("permits-hosts-none-named", permitted("good.example"), nothing)
	constrained("permits-wildcard", permitted("good.example"), hosts("*.good.example"))
	constrained("excludes-host", excluded("bad.example"), hosts("a.bad.example"))
	constrained("excludes-another-host", excluded("bad.example"), hosts("a.good.example"))
	constrained("excludes-wildcard", excluded("a.bad.example"), hosts("*.bad.example"))
	constrained("excludes-below-wildcard", excluded("a.b.bad.example"), hosts("*.bad.example"))
	constrained("permits-address", func(c *x509.Certificate) {
		c.PermittedIPRanges = []*net.IPNet{network("127.0.0.0/8")}
	}, nothing)
	constrained("permits-another-address", func(c *x509.Certificate) {
		c.PermittedIPRanges = []*net.IPNet{network("10.0.0.0/8"), network("::/0")}
	}, nothing)
	constrained("excludes-address", func(c *x509.Certificate) {
		c.ExcludedIPRanges = []*net.IPNet{network("127.0.0.0/30")}
	}, nothing)
	mail := func(names ...string) change { return func(c *x509.Certificate) { c.EmailAddresses = names } }
	permitsMail := func(names ...string) change {
		return func(c *x509.Certificate) { c.PermittedEmailAddresses = names }
	}
	constrained("permits-mail", permitsMail("a@good.example", "fine.example"), mail("a@GOOD.example", "x@fine.example"))
	constrained("permits-other-mail", permitsMail("a@good.example"), mail("b@good.example"))
	uris := func(text string) change {
		return func(c *x509.Certificate) { c.URIs = []*url.URL{must(url.Parse(text))} }
	}
	permitsURI := func(c *x509.Certificate) { c.PermittedURIDomains = []string{"good.example"} }
	constrained("permits-uri", permitsURI, uris("spiffe://a.good.example/b"))
	constrained("permits-uri-with-port", permitsURI, uris("https://user@Good.example:8080/b"))
	constrained("permits-other-uri", permitsURI, uris("spiffe://good.example.com/b"))
	constrained("permits-uri-of-address", permitsURI, uris("https://10.0.0.1/"))
	constrained("excludes-some-and-names-uri-without-host", excluded("bad.example"), uris("urn:uuid:1"))

	folder := must(asn1.Marshal(pkix.Name{CommonName: "x"}.ToRDNSequence()))
	subtree := must(asn1.Marshal([]asn1.RawValue{general(4, string(folder))}))
	folders := must(asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: subtree},
	}))
	t.below("constraint-not-understood", extension(true, folders, 2, 5, 29, 30))
	t.below("constraint-not-understood-nor-critical", extension(false, folders, 2, 5, 29, 30))
	t.between("constraint-malformed", extension(true, []byte{0x30, 2, 0xa0, 0}, 2, 5, 29, 30))
	t.between("constraint-cut-off", extension(true, []byte{0x30, 4, 0xa0, 2, 0x30, 9}, 2, 5, 29, 30))

	middle := t.authority(t.root("constraint-above", p256(), permitted("good.example")), "constraint-above middle", p256())
	t.add("constraint-above", t.leaf(middle, "constraint-above", p256(), hosts("bad.example")), middle)
	middle = t.authority(t.root("constraint-narrowed", p256(), permitted("good.example")),
		"constraint-narrowed middle", p256(), permitted("a.good.example"))
	t.add("constraint-narrowed", t.leaf(middle, "constraint-narrowed", p256(), hosts("b.good.example")), middle)
	middle = t.authority(t.root("constraint-of-middle", p256(), permitted("good.example")),
		"constraint-of-middle middle", p256(), hosts("bad.example"))
	t.add("constraint-of-middle", t.leaf(middle, "constraint-of-middle", p256(), hosts("good.example")), middle)
}

func names(t *table) {
	t.single("names-none", func(c *x509.Certificate) { c.IPAddresses = nil })
	t.single("names-common", func(c *x509.Certificate) { c.IPAddresses, c.Subject.CommonName = nil, host })
	t.single("names-another-address", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("127.0.0.2")} })
	t.single("names-mapped-address", alternatives(general(7, string(net.ParseIP(host).To16()))))
	t.add("names-mapped-address-below-permitted", t.leaf(
		t.root("names-mapped-address-below-permitted", p256(), func(c *x509.Certificate) {
			c.PermittedIPRanges = []*net.IPNet{network("::/0")}
		}), "names-mapped-address-below-permitted", p256(),
		alternatives(general(7, string(net.ParseIP(host).To16())))))
	t.single("names-host-like-address", alternatives(general(2, host)))
	t.single("names-several", alternatives(general(1, "a@b"), general(2, "x"), general(7, "\x7f\x00\x00\x01")))
	t.single("names-bad-address", alternatives(general(7, "\x7f\x00\x00\x01\x02")))
	t.single("names-not-ascii", alternatives(general(2, "ä"), general(7, "\x7f\x00\x00\x01")))
	t.single("names-unknown-kind", alternatives(general(8, "\x2a\x03"), general(7, "\x7f\x00\x00\x01")))
	t.single("subject-none", func(c *x509.Certificate) { c.Subject = pkix.Name{} })
}

// stricter adds the chains that Quorate refuses on purpose; for the reasons, see
// server/node/src/tls/chain.rs.
func stricter(t *table) {
	t.add("rsa-1024", t.leaf(t.root("rsa-1024", p256()), "rsa-1024", rsaKey(1024)))
	t.add("issuer-rsa-1024", t.leaf(t.root("issuer-rsa-1024", rsaKey(1024)), "issuer-rsa-1024", p256()))
	t.add("issuer-p224", t.leaf(t.root("issuer-p224", ec(elliptic.P224())), "issuer-p224", p256()))
	issuer := t.root("version-1-with-extensions", p256())
	t.add("version-1-with-extensions", remake(t.leaf(issuer, "version-1-with-extensions", p256()), issuer,
		crypto.SHA256, func(s *signed) { s.Body.Version = 0 }))
	policy := func(c *x509.Certificate) { c.Policies = []x509.OID{must(x509.OIDFromInts([]uint64{1, 2, 3}))} }
	middle := t.authority(t.root("asks-for-policies", p256()), "asks-for-policies middle", p256(),
		policy, extension(true, []byte{0x30, 3, 0x80, 1, 0}, 2, 5, 29, 36))
	t.add("asks-for-policies", t.leaf(middle, "asks-for-policies", p256(), policy), middle)
}
