package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"serin/proxy"
)

// explain answers what becomes of a request that a JSON object describes. It
// changes nothing.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	const hint = `POST {"url": "http://shop.test/cart", "method": "GET", "headers": {"Cookie": "a=b"}, "from": "10.0.0.1", "tls": false}`
	var ask proxy.Ask
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ask); err != nil {
		fail(w, http.StatusBadRequest, "the body is not the JSON object that is wanted: "+err.Error(), hint)
		return
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		fail(w, http.StatusBadRequest, "something follows the JSON object in the body", hint)
		return
	}
	in := proxy.ExplainInput{Table: s.table(), Draw: proxy.Middle(time.Now())}
	core := s.Core
	if core == nil {
		core = &proxy.Core{}
	}
	in.Use(core)
	var err error
	if in.Request, err = ask.Request(core); err != nil {
		fail(w, http.StatusBadRequest, err.Error(), hint)
		return
	}
	answer(w, proxy.Explain(in))
}
