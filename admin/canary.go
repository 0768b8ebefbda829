package admin

import (
	"compress/gzip"
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"serin/canary"
)

// Canary is what is known of the canary documents; *canary.Controller knows it.
// Its methods are called concurrently.
type Canary interface {
	Status() canary.Status
	ServiceStatus(service string) (canary.ServiceStatus, bool)
	Resolve(service string, a canary.Asker) (text []byte, hash string, ok bool)
}

// CanaryEditor writes canary documents when people ask for it; *canary.Editor
// does. Its methods are called concurrently.
type CanaryEditor interface {
	Prepare(ctx context.Context, service string, e canary.Edit) (canary.Edited, error)
	Write(ctx context.Context, d *canary.Edited) error
}

// gzipAbove is the size of a document, in bytes, above which it is compressed
// for those who accept that.
const gzipAbove = 10240

// document answers the document of a service as the asker is to have it, so
// that this address can be a config_server, or replaces or deletes it.
func (s *Server) document(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPut:
		body, ok := readBody(w, r)
		if ok {
			s.edit(w, r, canary.Replace(body), true)
		}
		return
	case http.MethodDelete:
		s.edit(w, r, canary.Remove(), true)
		return
	}
	asks, err := asker(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "?client=10.1.2.3 asks for what that client would get; without it the address of the asker counts")
		return
	}
	h := w.Header()
	h.Set("Vary", "Lb-Node, Lb-Datacenter, Lb-Tag, Accept-Encoding")
	var text []byte
	var hash string
	found := false
	if s.Canary != nil {
		text, hash, found = s.Canary.Resolve(canary.Unlabel(r.PathValue("service")), asks)
	}
	st, known := canary.ServiceStatus{}, false
	if s.Canary != nil {
		st, known = s.Canary.ServiceStatus(canary.Unlabel(r.PathValue("service")))
	}
	// Whoever reads the document here must take for a loss what is one: 404 would
	// be a deletion, and 200 would keep a share that is over here.
	const hint = "ask again: an asker that is a balancer keeps what it has for its stale_after"
	switch {
	case !found && s.Canary != nil && !s.Canary.Status().Answered:
		fail(w, http.StatusServiceUnavailable, "the canary documents are not known yet", hint)
		return
	case !found:
		s.noDocument(w, r.PathValue("service"))
		return
	case known && st.State == canary.StateStale:
		fail(w, http.StatusServiceUnavailable, "the source of the document is lost: "+st.SourceError, hint)
		return
	case known:
		h.Set("Lb-Index", strconv.FormatUint(st.LastGood, 10))
	}
	h.Set("Cache-Control", "no-cache") // it may be kept, and is asked for again by its ETag
	h.Set("Content-Type", "application/json")
	zip := len(text) > gzipAbove && accepts(r.Header.Values("Accept-Encoding"), "gzip")
	tag := `"` + hash + `"`
	if zip {
		tag = "W/" + tag // the same document, not the same bytes
	}
	h.Set("ETag", tag)
	switch {
	case matches(r.Header.Values("If-None-Match"), hash):
		h.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
	case zip:
		h.Set("Content-Encoding", "gzip")
		if r.Method == http.MethodHead {
			return
		}
		z := gzip.NewWriter(w)
		_, _ = z.Write(text)
		_ = z.Close()
	default:
		h.Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = w.Write(text)
	}
}

func (s *Server) noDocument(w http.ResponseWriter, service string) {
	fail(w, http.StatusNotFound, "no canary document is in force for "+service, "lb canary set "+service+" 10% writes one")
}

// asker tells who asks for a document: a balancer, which says so in headers, or
// a client, by its address.
func asker(r *http.Request) (canary.Asker, error) {
	node, dc, tags := r.Header.Get("Lb-Node"), r.Header.Get("Lb-Datacenter"), listed(r.Header.Values("Lb-Tag"))
	if node != "" || dc != "" || tags != nil {
		return canary.Asker{Self: &canary.Self{Node: node, Datacenter: dc, Tags: tags}}, nil
	}
	if text := r.URL.Query().Get("client"); text != "" {
		client, err := netip.ParseAddr(text)
		return canary.Asker{Client: client.Unmap().WithZone("")}, err
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return canary.Asker{}, nil // a Unix socket: nobody in particular
	}
	return canary.Asker{Client: peer.Addr().Unmap().WithZone("")}, nil
}

// listed returns the elements of a list that is a header, which may come in
// several lines.
func listed(values []string) (out []string) {
	for _, v := range values {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.TrimSpace(e); e != "" {
				out = append(out, e)
			}
		}
	}
	return out
}

// matches tells whether an If-None-Match names the hash: weakly, as RFC 9110
// (13.1.2) wants it.
func matches(header []string, hash string) bool {
	for _, tag := range listed(header) {
		if tag == "*" || strings.Trim(strings.TrimPrefix(tag, "W/"), `"`) == hash {
			return true
		}
	}
	return false
}

// accepts tells whether an Accept-Encoding takes a coding (RFC 9110, 12.5.3).
func accepts(header []string, coding string) bool {
	any := false
	for _, e := range listed(header) {
		name, params, _ := strings.Cut(e, ";")
		q := 1.0
		if text, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
			q, _ = strconv.ParseFloat(text, 64) // what is no number is not wanted
		}
		switch name = strings.ToLower(strings.TrimSpace(name)); {
		case name == coding:
			return q > 0
		case name == "*":
			any = q > 0
		}
	}
	return any
}
