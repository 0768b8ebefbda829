package consul

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

// Options name an agent and how to speak to it, without Consul's own types.
// What is empty comes from the CONSUL_* variables.
type Options struct {
	Addr      string // "host:port" or a URL
	Token     string // ACL token
	TokenFile string // a file that holds it, read again when it changes; wins over Token

	// Of an agent that is reached over HTTPS. The files are read once.
	CAFile   string // certificates of the authorities that may have signed the agent's
	CAPath   string // a directory of such files
	CertFile string // our own certificate, where the agent asks for one
	KeyFile  string // its key
	// InsecureSkipVerify believes any certificate: whoever is between us and the
	// agent then reads the token and writes the routes.
	InsecureSkipVerify bool
}

// NewWithOptions returns a Client for o.
func NewWithOptions(o Options) (*Client, error) {
	return NewWithConfig(&api.Config{
		Address: o.Addr, Token: o.Token, TokenFile: o.TokenFile,
		TLSConfig: api.TLSConfig{
			CAFile: o.CAFile, CAPath: o.CAPath, CertFile: o.CertFile, KeyFile: o.KeyFile,
			InsecureSkipVerify: o.InsecureSkipVerify,
		},
	})
}

// NewAt returns a Client of the agent at addr, "host:port" or a URL; the rest
// comes from the CONSUL_* variables, and so does addr when it is empty.
func NewAt(addr string) (*Client, error) { return NewWithOptions(Options{Addr: addr}) }

// NewAnonymous returns a Client of the agent at addr ("host:port", plain HTTP)
// that sends no credentials, whatever the environment holds, and connects to no
// link-local address: for agents that are not the program's own.
func NewAnonymous(addr string) (*Client, error) {
	t := newTransport()
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost = maxConns, maxConns
	t.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second, Control: notLinkLocal}).DialContext
	return NewWithConfig(&api.Config{Address: addr, Scheme: "http", HttpClient: &http.Client{Transport: withoutCredentials{t}}})
}

// notLinkLocal refuses addresses that no agent of others has, but the metadata
// service of a cloud does (169.254.0.0/16, fe80::/10), whatever name they stand
// behind.
func notLinkLocal(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if addr.Addr().Unmap().IsLinkLocalUnicast() {
		return fmt.Errorf("the link-local address %s cannot be a Consul agent of others", addr.Addr())
	}
	return nil
}

// withoutCredentials removes what would tell another who we are.
type withoutCredentials struct{ *http.Transport }

func (w withoutCredentials) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del("X-Consul-Token")
	req.Header.Del("Authorization")
	return w.Transport.RoundTrip(req)
}
