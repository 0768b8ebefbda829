package admin

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"serin/proxy"
)

func TestExplain(t *testing.T) {
	s := full(t)
	u := proxy.NewUpstreams(proxy.UpstreamsConfig{})
	u.Swap(s.Table())
	s.Core = &proxy.Core{Upstreams: u, Settings: proxy.Settings{NoRouteStatus: 410}}
	s.ReadOnly = true // it only looks
	f := func(body string, wantStatus int, want string) {
		t.Helper()
		r := httptest.NewRequest("POST", "http://127.0.0.1/api/v1/explain", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		var e proxy.Explanation
		got := ""
		if w.Code == 200 {
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
				t.Errorf("%s: %v: %s", body, err, w.Body)
			}
			got = e.Service + " " + e.Target + " " + e.URL + " " + e.Answer
			if e.Status != 200 {
				got = e.Answer
			}
		} else {
			var p Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Hint == "" {
				t.Errorf("%s: no problem document with a hint: %s", body, w.Body)
			}
			got = p.Detail
		}
		if w.Code != wantStatus || got != want {
			t.Errorf("%s\n got %d %s\nwant %d %s", body, w.Code, got, wantStatus, want)
		}
	}
	f(`{"url": "http://shop.test/x/cart?a=b"}`, 200, "web 10.0.0.2:80 http://10.0.0.2:80/cart?a=b ")
	f(`{"url": "none.test", "method": "POST", "headers": {"X-A": "1"}, "from": "10.0.0.1", "tls": true}`, 200, "no route for this host and path")
	f(`{"url": ""}`, 400, `url "": want [http[s]://]host[:port][/path][?query]`)
	f(`{"uri": "a"}`, 400, `the body is not the JSON object that is wanted: json: unknown field "uri"`)
	f(`{"url": "a"} {}`, 400, "something follows the JSON object in the body")
	f(``, 400, "the body is not the JSON object that is wanted: EOF")

	// Without a table nothing is known, and that is what is said.
	s.Table, s.Core = nil, nil
	f(`{"url": "a.test"}`, 200, "the services are not known yet")
}

func TestRoutesInOtherForms(t *testing.T) {
	f := func(query, want string) {
		t.Helper()
		w := get(full(t).Handler(), "/api/v1/routes?"+query)
		if got := strings.TrimSpace(w.Body.String()); got != strings.TrimSpace(want) {
			t.Errorf("?%s\n got %s\nwant %s", query, got, want)
		}
	}
	f("format=commands", `
# critical: route add web shop.test/ http://10.0.0.4:80/ opts "strip=/x"
route add web shop.test/ http://10.0.0.1:80/ tags "blue" opts "strip=/x"
route add web shop.test/ http://10.0.0.2:80/ opts "strip=/x"
route add web shop.test/ https://10.0.0.3:80 tags "canary"`)
	f("format=commands&service=web", `
# critical: route add web shop.test/ http://10.0.0.4:80/ opts "strip=/x"
route add web shop.test/ http://10.0.0.1:80/ tags "blue" opts "strip=/x"
route add web shop.test/ http://10.0.0.2:80/ opts "strip=/x"
route add web shop.test/ https://10.0.0.3:80 tags "canary"`)
	f("format=commands&service=we", "")
	f("format=targets&service=none", "[]")
	if w := get(full(t).Handler(), "/api/v1/routes?format=xml"); w.Code != 400 || !strings.Contains(w.Body.String(), `no format \"xml\"`) {
		t.Errorf("?format=xml: %d %s", w.Code, w.Body)
	}
}
