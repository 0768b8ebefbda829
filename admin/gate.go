package admin

import (
	"mime"
	"net/http"
	"slices"
	"strings"
)

// maxBody bounds the body of a request.
const maxBody = 1 << 20

// endpoint is one row of what the listener answers.
type endpoint struct {
	path  string // a pattern of http.ServeMux, without method
	doc   string
	serve http.HandlerFunc
	// methods it answers, in order; nil is GET. HEAD goes with GET.
	methods []string
	// looks says that a method other than GET changes nothing either, so that
	// it is answered where the API only looks.
	looks bool
	// forms lets a body say that it comes from a form, as curl -d does.
	forms bool
}

func (e *endpoint) allowed() []string {
	if e.methods == nil {
		return []string{http.MethodGet, http.MethodHead}
	}
	if slices.Contains(e.methods, http.MethodGet) {
		return append([]string{http.MethodGet, http.MethodHead}, e.methods[1:]...)
	}
	return e.methods
}

// gate lets only requests through to e that it is meant for: by method, from
// this origin, with a body of a kind and size that it reads.
func (s *Server) gate(e endpoint) http.HandlerFunc {
	var origin http.CrossOriginProtection
	allowed := e.allowed()
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !slices.Contains(allowed, r.Method):
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			hint := "change a canary with lb canary set or consul kv put, and other things in Consul"
			if e.methods != nil {
				hint = "it answers " + strings.Join(allowed, ", ")
			}
			fail(w, http.StatusMethodNotAllowed, r.Method+" is not answered at "+r.URL.Path, hint)
			return
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			e.serve(w, r)
			return
		}
		if err := origin.Check(r); err != nil {
			fail(w, http.StatusForbidden, "a page of another site asked for this: "+err.Error(), "only pages of this listener, and programs that are no browsers, may change something")
			return
		}
		if s.ReadOnly && !e.looks {
			fail(w, http.StatusForbidden, "this API only looks: ui.access is ro", "set ui.access to rw, or change the key in Consul")
			return
		}
		if kind := r.Header.Get("Content-Type"); kind != "" && r.ContentLength != 0 {
			media, _, err := mime.ParseMediaType(kind)
			form := e.forms && media == "application/x-www-form-urlencoded"
			if err != nil || media != "application/json" && media != "text/plain" && !form {
				fail(w, http.StatusUnsupportedMediaType, "a body of type "+kind+" is not read", "send text/plain or application/json, as with curl -H 'Content-Type: text/plain' --data-binary @FILE")
				return
			}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		e.serve(w, r)
	}
}
