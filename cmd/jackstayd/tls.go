package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// listenTLS serves clients with a certificate. Without one, the port would be
// root's for everybody who reaches it.
func listenTLS(address string, c *config) (net.Listener, error) {
	if c.TLSCA == "" || c.TLSCert == "" || c.TLSKey == "" {
		return nil, errors.New("the API over TCP needs --tlscacert, --tlscert and --tlskey: who reaches it without a certificate would be root here")
	}
	pem, err := os.ReadFile(c.TLSCA)
	if err != nil {
		return nil, fmt.Errorf("--tlscacert: %w", err)
	}
	signers := x509.NewCertPool()
	if !signers.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tlscacert %s: there is no certificate in it", c.TLSCA)
	}
	own, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("--tlscert, --tlskey: %w", err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{own}, ClientCAs: signers, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // attach and exec take the connection over, which HTTP/2 can't
	}), nil
}
