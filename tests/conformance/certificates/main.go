// Command certificates makes a table of valid and invalid certificates, reports which of them Go's
// crypto/tls accepts, and presents them to a server under test.
//
//	certificates make FOLDER           makes the table; prints a line for each case
//	certificates show FOLDER ADDRESS   presents each to a server; prints the server's reactions
//	certificates serve FOLDER          presents each to a client; prints the ports, then the
//	                                   clients' reactions
//
// tests/conformance/tests/certificates compares Quorate and etcd with what `make` prints.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// host is the address of the servers. A good server certificate is for this address.
const host = "127.0.0.1"

// patience is how long a server or a client may be silent.
const patience = 60 * time.Second

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) == 2 && arguments[0] == "make":
		err = makeTable(arguments[1])
	case len(arguments) == 3 && arguments[0] == "show":
		err = show(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "serve":
		err = serve(arguments[1])
	default:
		err = fmt.Errorf("usage: certificates make FOLDER | show FOLDER ADDRESS | serve FOLDER")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "certificates:", err)
		os.Exit(1)
	}
}

// makeTable writes all certificates and keys. For each case it prints whether crypto/x509, called
// as crypto/tls calls it, accepts the certificate of a client and of a server.
func makeTable(folder string) error {
	table := newTable()
	roots := x509.NewCertPool()
	var trusted []byte
	for _, raw := range table.trusted {
		certificate, err := x509.ParseCertificate(raw)
		if err != nil {
			return err
		}
		roots.AddCert(certificate)
		trusted = append(trusted, pemOf("CERTIFICATE", raw)...)
	}
	if err := os.WriteFile(filepath.Join(folder, "trusted.pem"), trusted, 0o600); err != nil {
		return err
	}
	var list strings.Builder
	for _, one := range table.cases {
		var chain []byte
		for _, raw := range one.chain {
			chain = append(chain, pemOf("CERTIFICATE", raw)...)
		}
		key, err := x509.MarshalPKCS8PrivateKey(one.key)
		if err != nil {
			return err
		}
		path := filepath.Join(folder, one.name)
		if err := os.WriteFile(path+".crt", chain, 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(path+".key", pemOf("PRIVATE KEY", key), 0o600); err != nil {
			return err
		}
		client := verify(one.chain, roots, x509.ExtKeyUsageClientAuth, "")
		server := verify(one.chain, roots, x509.ExtKeyUsageServerAuth, host)
		rules := "same"
		if one.stricter {
			rules = "stricter"
		}
		fmt.Fprintf(&list, "%s\t%s\t%s\t%s\n", one.name, word(client), word(server), rules)
	}
	fmt.Print(list.String())
	return os.WriteFile(filepath.Join(folder, "cases"), []byte(list.String()), 0o600)
}

// verify calls crypto/x509 as crypto/tls does.
func verify(chain [][]byte, roots *x509.CertPool, usage x509.ExtKeyUsage, name string) error {
	options := x509.VerifyOptions{
		Roots:         roots,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{usage},
		DNSName:       name,
	}
	var shown *x509.Certificate
	for i, raw := range chain {
		certificate, err := x509.ParseCertificate(raw)
		if err != nil {
			return err
		}
		if i == 0 {
			shown = certificate
		} else {
			options.Intermediates.AddCert(certificate)
		}
	}
	_, err := shown.Verify(options)
	return err
}

func word(err error) string {
	if err == nil {
		return "takes"
	}
	return "refuses"
}

func pemOf(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}

// load reads the names of the cases, and their certificates.
func load(folder string) ([]string, []tls.Certificate, error) {
	file, err := os.Open(filepath.Join(folder, "cases"))
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	var names []string
	var pairs []tls.Certificate
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, _, _ := strings.Cut(lines.Text(), "\t")
		pair, err := pairOf(filepath.Join(folder, name))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		names, pairs = append(names, name), append(pairs, pair)
	}
	return names, pairs, nil
}

// pairOf reads a certificate that may be invalid; tls.LoadX509KeyPair would refuse some of these.
func pairOf(path string) (tls.Certificate, error) {
	var pair tls.Certificate
	rest, err := os.ReadFile(path + ".crt")
	if err != nil {
		return pair, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		pair.Certificate = append(pair.Certificate, block.Bytes)
	}
	text, err := os.ReadFile(path + ".key")
	if err != nil {
		return pair, err
	}
	block, _ := pem.Decode(text)
	pair.PrivateKey, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	return pair, err
}

// show calls a server with each certificate, with both versions of TLS.
func show(folder, address string) error {
	names, pairs, err := load(folder)
	if err != nil {
		return err
	}
	answers := make([]string, len(names))
	var calls sync.WaitGroup
	turns := make(chan struct{}, 4)
	for i := range names {
		calls.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			older := call(address, pairs[i], tls.VersionTLS12)
			newer := call(address, pairs[i], tls.VersionTLS13)
			answers[i] = fmt.Sprintf("%s\t%s", names[i], word(newer))
			if word(older) != word(newer) {
				answers[i] = fmt.Sprintf("%s\tTLS 1.2: %v; TLS 1.3: %v", names[i], older, newer)
			}
		})
	}
	calls.Wait()
	fmt.Println(strings.Join(answers, "\n"))
	return nil
}

// call returns nil if the server speaks HTTP/2 with a client that presents this certificate. In TLS
// 1.3, a client learns only after the handshake that it is refused.
func call(address string, pair tls.Certificate, version uint16) error {
	dialer := &net.Dialer{Timeout: patience}
	connection, err := tls.DialWithDialer(dialer, "tcp", address, &tls.Config{
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair, nil
		},
		MinVersion: version,
		MaxVersion: version,
		NextProtos: []string{"h2"},
	})
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	// The client's preface and empty settings; the server answers with its own settings.
	hello := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	if _, err := io.WriteString(connection, hello); err != nil {
		return err
	}
	_, err = io.ReadFull(connection, make([]byte, 9))
	return err
}

// serve listens at a port for each case. It prints the ports and an empty line, and then whether
// the clients accept the certificates. For each port, the first client decides that completes the
// handshake or sends a TLS alert.
func serve(folder string) error {
	names, pairs, err := load(folder)
	if err != nil {
		return err
	}
	answers := make([]string, len(names))
	var clients sync.WaitGroup
	for i := range names {
		listener, err := net.Listen("tcp", host+":0")
		if err != nil {
			return err
		}
		fmt.Printf("%s\t%d\n", names[i], listener.Addr().(*net.TCPAddr).Port)
		clients.Go(func() { answers[i] = names[i] + "\t" + accept(listener, pairs[i]) })
	}
	fmt.Println()
	clients.Wait()
	fmt.Println(strings.Join(answers, "\n"))
	return nil
}

func accept(listener net.Listener, pair tls.Certificate) string {
	defer listener.Close()
	until := time.Now().Add(patience)
	for {
		if err := listener.(*net.TCPListener).SetDeadline(until); err != nil {
			return err.Error()
		}
		connection, err := listener.Accept()
		if err != nil {
			return "never called"
		}
		server := tls.Server(connection, &tls.Config{
			Certificates: []tls.Certificate{pair},
			NextProtos:   []string{"h2"},
			MinVersion:   tls.VersionTLS13,
		})
		_ = server.SetDeadline(until)
		err = server.Handshake()
		connection.Close()
		if err == nil || strings.Contains(err.Error(), "remote error: tls:") {
			return word(err)
		}
	}
}
