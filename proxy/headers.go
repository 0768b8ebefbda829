package proxy

import (
	"crypto/tls"
	"net/netip"
)

// Header is a header by canonical names: the type of http.Header.
type Header = map[string][]string

// Forwarding is what an engine knows of a request besides its header.
type Forwarding struct {
	Remote, Local netip.AddrPort       // of the client's connection
	TLS           *tls.ConnectionState // nil on a plain connection
	Proto         string               // as the client spoke: "HTTP/1.1", "HTTP/2.0"
	Host          string               // the client's original host
	Client        netip.Addr           // see Core.ClientAddr
	RequestID     string               // see Core.RequestID; "" sends none
	Prefix        string               // what was stripped from the path, "" for nothing
	StripCookie   string               // Decision.Strip
	Upgrade       string               // "websocket" keeps the upgrade; "" removes it
}

// ClientAddr returns the address that is believed to be the client's: the
// peer's, or where the peer is trusted the rightmost address of
// X-Forwarded-For that is not.
func (c *Core) ClientAddr(h Header, remote netip.Addr) netip.Addr { return remote.Unmap() }

// RequestID returns the id of a request for its log line and its instance: a
// new one, or that of a trusted peer; "" when Headers.RequestID is "".
func (c *Core) RequestID(h Header, remote netip.Addr) string { return "" }

// ForwardHeaders turns the header of a client's request, in place, into the
// one its instance gets: hop-by-hop headers are removed first, then whatever
// pretends to be ours, then the forwarding headers are added.
func (c *Core) ForwardHeaders(h Header, f Forwarding) {}

// ResponseHeaders turns the header of an instance's response, in place, into
// the one the client gets; upgrade is the protocol of a 101, else "".
func (c *Core) ResponseHeaders(h Header, d *Decision, upgrade string) {}
