package proxy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/textproto"
	"strings"
)

// Ask describes a request that nobody has sent: what Explain is asked about.
type Ask struct {
	// URL is [http://|https://]host[:port][/path][?query]; https means TLS.
	URL    string `json:"url"`
	Method string `json:"method,omitempty"` // "" is GET
	// Headers of the request. Host replaces that of URL, as with curl.
	Headers AskHeaders `json:"headers,omitempty"`
	From    string     `json:"from,omitempty"` // address of the peer; "" is 127.0.0.1
	TLS     bool       `json:"tls,omitempty"`  // the request comes over TLS
}

// AskHeaders are header fields by canonical name. In JSON they are an object of
// names to a value or a list of values, or a list of "Name: value".
type AskHeaders map[string][]string

// Add appends one field as it is written on the wire: "Name: value".
func (h AskHeaders) Add(line string) error {
	name, value, ok := strings.Cut(line, ":")
	value = strings.Trim(value, " \t")
	if name = strings.Trim(name, " \t"); !ok || !isToken(name) {
		return fmt.Errorf("header %q: want Name: value", line)
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("header %q: a value has no control characters", line)
		}
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	h[name] = append(h[name], value)
	return nil
}

// UnmarshalJSON reads both forms.
func (h *AskHeaders) UnmarshalJSON(b []byte) error {
	out := AskHeaders{}
	var lines []string
	var object map[string]json.RawMessage
	if json.Unmarshal(b, &lines) != nil {
		if err := json.Unmarshal(b, &object); err != nil {
			return errors.New(`headers: want {"Name": "value"}, {"Name": ["value"]} or ["Name: value"]`)
		}
	}
	for _, line := range lines {
		if err := out.Add(line); err != nil {
			return err
		}
	}
	for name, raw := range object {
		var one string
		var values []string
		if json.Unmarshal(raw, &one) == nil {
			values = []string{one}
		} else if err := json.Unmarshal(raw, &values); err != nil {
			return fmt.Errorf("header %q: want a text or a list of texts", name)
		}
		for _, v := range values {
			if strings.Contains(name, ":") {
				return fmt.Errorf("header %q: a name has no colon", name)
			}
			if err := out.Add(name + ":" + v); err != nil {
				return err
			}
		}
	}
	*h = out
	return nil
}

// isToken reports whether s can be the name of a header or a method (RFC 9110,
// 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9', 'a' <= c|0x20 && c|0x20 <= 'z', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// Request returns the request that a describes, as c would decide on it: what
// c trusts says whose forwarding headers are believed. Its errors say which part
// of a is wrong.
func (a Ask) Request(c *Core) (Request, error) {
	r := &askedRequest{core: c, method: cmp.Or(a.Method, "GET"), header: maps.Clone(a.Headers), tls: a.TLS, peer: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if !isToken(r.method) {
		return nil, fmt.Errorf("method %q: want a word such as GET", a.Method)
	}
	if err := r.readURL(a.URL); err != nil {
		return nil, fmt.Errorf("url %q: %w", a.URL, err)
	}
	if host := r.header["Host"]; len(host) > 0 {
		r.host = host[0]
		delete(r.header, "Host")
	}
	if a.From != "" {
		addr, ok := parseClient(a.From)
		if !ok {
			return nil, fmt.Errorf("from %q: want an IP address", a.From)
		}
		r.peer = addr
	}
	return r, nil
}

// askedRequest is the Request of an Ask.
type askedRequest struct {
	core                      *Core
	method, host, path, query string
	header                    AskHeaders
	peer                      netip.Addr
	tls                       bool
}

// readURL takes the parts of url as they are: what a path means is the table's
// business.
func (r *askedRequest) readURL(url string) error {
	for i := range len(url) {
		if c := url[i]; c <= ' ' || c == 0x7f {
			return fmt.Errorf("%q cannot stand in a URL: write it as %%%02X", c, c)
		}
	}
	rest := url
	if scheme, after, ok := strings.Cut(url, "://"); ok && isToken(scheme) {
		switch strings.ToLower(scheme) {
		case "https":
			r.tls = true
		case "http":
		default:
			return fmt.Errorf("scheme %q: want http or https", scheme)
		}
		if rest = after; rest == "" || rest[0] == '/' {
			return errors.New("it has no host")
		}
	}
	rest, _, _ = strings.Cut(rest, "#")
	if rest == "" {
		return errors.New("want [http[s]://]host[:port][/path][?query]")
	}
	r.host = rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		r.host, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	if strings.Contains(r.host, "@") {
		return errors.New("a name or a password is not part of what is asked: give the header Authorization")
	}
	r.path, r.query, _ = strings.Cut(rest, "?")
	r.path = cmp.Or(r.path, "/")
	return nil
}

func (r *askedRequest) Method() string     { return r.method }
func (r *askedRequest) Host() string       { return r.host }
func (r *askedRequest) Path() string       { return r.path }
func (r *askedRequest) RawQuery() string   { return r.query }
func (r *askedRequest) TLS() bool          { return r.tls }
func (r *askedRequest) Client() netip.Addr { return r.core.ClientAddr(Header(r.header), r.peer) }
func (r *askedRequest) Secure() bool       { return r.core.Secure(Header(r.header), r.peer, r.tls) }

func (r *askedRequest) Chain(buf []netip.Addr) []netip.Addr {
	return r.core.Chain(Header(r.header), r.peer, buf)
}

func (r *askedRequest) Header(name string) (string, bool) {
	v := r.header[textproto.CanonicalMIMEHeaderKey(name)]
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}

func (r *askedRequest) Cookie(name string) (string, bool) {
	for _, line := range r.header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k == name {
				return v, true
			}
		}
	}
	return "", false
}
