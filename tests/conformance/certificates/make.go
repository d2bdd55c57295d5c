package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"time"
)

// A holder has a certificate and its key.
type holder struct {
	raw []byte
	key crypto.Signer
	// template has the fields of the certificate that matter for those it issues.
	template *x509.Certificate
}

// An entry is a case: a chain, and the key of its first certificate.
type entry struct {
	name  string
	chain [][]byte
	key   crypto.Signer
	// stricter is whether Quorate refuses the chain although etcd accepts it.
	stricter bool
}

type table struct {
	cases   []entry
	trusted [][]byte
	serial  int64
	// strict is whether the cases that are added next are stricter.
	strict bool
}

type change func(*x509.Certificate)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func ec(curve elliptic.Curve) crypto.Signer { return must(ecdsa.GenerateKey(curve, rand.Reader)) }
func p256() crypto.Signer                   { return ec(elliptic.P256()) }
func rsaKey(bits int) crypto.Signer         { return must(rsa.GenerateKey(rand.Reader, bits)) }
func ed() crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

// make makes a certificate by an issuer, or a self-signed one. The changes are applied last.
func (t *table) make(issuer *holder, key crypto.Signer, template *x509.Certificate, changes ...change) *holder {
	t.serial++
	template.SerialNumber = big.NewInt(t.serial)
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(24 * time.Hour)
	for _, change := range changes {
		change(template)
	}
	signer, parent := key, template
	if issuer != nil {
		signer, parent = issuer.key, issuer.template
	}
	// The signature algorithm that an issuer uses comes from the template of the certificate that it
	// issues.
	raw := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		// A certificate that cannot be parsed issues no others.
		parsed = template
	}
	return &holder{raw: raw, key: key, template: parsed}
}

// authority makes a certificate that can issue others, unless the changes prevent it.
func (t *table) authority(issuer *holder, name string, key crypto.Signer, changes ...change) *holder {
	return t.make(issuer, key, &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            -1,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, changes...)
}

// root makes an authority that is trusted.
func (t *table) root(name string, key crypto.Signer, changes ...change) *holder {
	made := t.authority(nil, name+" root", key, changes...)
	t.trust(made)
	return made
}

func (t *table) trust(one *holder) { t.trusted = append(t.trusted, one.raw) }

// leaf makes a certificate of a member: for this host, as a client and as a server.
func (t *table) leaf(issuer *holder, name string, key crypto.Signer, changes ...change) *holder {
	return t.make(issuer, key, &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.ParseIP(host)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, changes...)
}

// add adds a case: the chain to present, whose first certificate is the leaf.
func (t *table) add(name string, shown ...*holder) {
	one := entry{name: name, key: shown[0].key, stricter: t.strict}
	for _, holder := range shown {
		one.chain = append(one.chain, holder.raw)
	}
	t.cases = append(t.cases, one)
}

// body has the parts of a certificate, for certificates that crypto/x509 would not make.
type body struct {
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     *big.Int
	Algorithm  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	Validity   asn1.RawValue
	Subject    asn1.RawValue
	Key        asn1.RawValue
	Extensions []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
}

type signed struct {
	Body      body
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

// remake changes a certificate in ways that crypto/x509 would not. The issuer, whose key must be an
// ECDSA key, signs it again.
func remake(one, issuer *holder, hash crypto.Hash, edit func(*signed)) *holder {
	var parts signed
	must(asn1.Unmarshal(one.raw, &parts))
	edit(&parts)
	digest := hash.New()
	digest.Write(must(asn1.Marshal(parts.Body)))
	signature := must(issuer.key.Sign(rand.Reader, digest.Sum(nil), hash))
	parts.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	made := &holder{raw: must(asn1.Marshal(parts)), key: one.key, template: one.template}
	if parsed, err := x509.ParseCertificate(made.raw); err == nil {
		made.template = parsed
	}
	return made
}

// toVersion1 makes a certificate of version 1, which has no extensions.
func toVersion1(parts *signed) { parts.Body.Version, parts.Body.Extensions = 0, nil }

// extension adds an extension that crypto/x509 would not write.
func extension(critical bool, value []byte, id ...int) change {
	return func(template *x509.Certificate) {
		template.ExtraExtensions = append(template.ExtraExtensions,
			pkix.Extension{Id: id, Critical: critical, Value: value})
	}
}

// general is a general name of the kind that its tag determines.
func general(tag int, text string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: tag == 4, Bytes: []byte(text)}
}

// alternatives sets the subject alternative names of a certificate, encoded by hand.
func alternatives(names ...asn1.RawValue) change {
	return func(template *x509.Certificate) {
		template.IPAddresses = nil
		extension(false, must(asn1.Marshal(names)), 2, 5, 29, 17)(template)
	}
}
