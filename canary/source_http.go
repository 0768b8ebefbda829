package canary

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"serin/route"
)

// httpTimeout bounds one question, from the name to the last byte.
const httpTimeout = 5 * time.Second

// HTTPSource is a [Source] of one document, of the service "", that a web server
// holds. It is asked again and again; a document that did not change costs a 304
// (If-None-Match), one that does is read up to MaxSize, compressed or not.
//
// 404 and 410 say that there is no document. Everything else but 200 and 304 is
// a loss: also a redirect, which is not followed. No credentials are sent, no
// proxy is used, certificates are verified, and addresses that are link-local,
// multicast or unspecified are not connected to.
//
// The header Lb-Index of an answer is the document's index, where it has one;
// else the time at which it was found changed, in milliseconds, is.
type HTTPSource struct {
	URL   string        // http:// or https://, without credentials
	Every time.Duration // between two questions; 0 is DefaultPollEvery, at least MinPollEvery
	// Self says who asks, so that the server can apply environments: in the
	// headers Lb-Node, Lb-Datacenter and Lb-Tag (one for each tag). Nil is nobody.
	Self func() Self
	// Transport carries the questions; nil is one of its own, as described above.
	Transport http.RoundTripper
}

// Run asks until ctx ends; see [Source].
func (s *HTTPSource) Run(ctx context.Context, emit func(Event)) error {
	transport := s.Transport
	if transport == nil {
		own := newHTTPTransport()
		defer own.CloseIdleConnections()
		transport = own
	}
	reader := httpReader{source: s, client: &http.Client{
		Transport:     transport,
		Timeout:       httpTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return poll(ctx, s.Every, emit, reader.ask)
}

func newHTTPTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: httpTimeout, Control: usableAddress}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    httpTimeout,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
}

// usableAddress refuses addresses that no config_server can have, whatever name
// they stand behind: see [route.CheckResolved].
func usableAddress(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return route.CheckResolved(address, addr, nil, nil)
}

// status is a status as errors have it: the server's own words for it are left
// out, because they may be long and change each time.
func status(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// httpReader is one Run of a source.
type httpReader struct {
	source *HTTPSource
	client *http.Client
	etag   string // of doc; "": it has none
	doc    Raw
	there  bool
}

func (r *httpReader) ask(ctx context.Context) (Raw, bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.source.URL, nil)
	if err != nil {
		return Raw{}, false, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Serin")
	if r.there && r.etag != "" {
		req.Header.Set("If-None-Match", r.etag)
	}
	if r.source.Self != nil {
		self := r.source.Self()
		for name, values := range map[string][]string{"Lb-Node": {self.Node}, "Lb-Datacenter": {self.Datacenter}, "Lb-Tag": self.Tags} {
			for _, v := range values {
				if v != "" && strings.Trim(v, " ") == v && !strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c > '~' }) {
					req.Header.Add(name, v)
				}
			}
		}
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return Raw{}, false, err
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusNotModified && req.Header.Get("If-None-Match") != "":
		return r.doc, true, nil
	case code == http.StatusNotFound, code == http.StatusGone:
		r.doc, r.there, r.etag = Raw{}, false, ""
		return Raw{}, false, nil
	case code >= 300 && code < 400:
		return Raw{}, false, fmt.Errorf("%s answers %s: redirects are not followed, write the address that has the document", r.source.URL, status(code))
	case code != http.StatusOK:
		return Raw{}, false, fmt.Errorf("%s answers %s", r.source.URL, status(code))
	}
	// One byte more than a document may have: Parse tells what is wrong with it.
	value, err := io.ReadAll(io.LimitReader(resp.Body, MaxSize+1))
	if err != nil {
		return Raw{}, false, fmt.Errorf("read %s: %w", r.source.URL, err)
	}
	index, err := strconv.ParseUint(resp.Header.Get("Lb-Index"), 10, 64)
	if err != nil {
		if index = uint64(time.Now().UnixMilli()); r.there && string(value) == string(r.doc.Value) {
			index = r.doc.Index
		}
	}
	r.doc, r.there, r.etag = Raw{Key: r.source.URL, Value: value, Index: index}, true, resp.Header.Get("ETag")
	return r.doc, true, nil
}
