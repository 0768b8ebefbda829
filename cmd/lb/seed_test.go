package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"serin/internal/devconsul"
)

func TestParseSeed(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		docs, err := parseSeed("seed.json", []byte(text))
		got := ""
		for _, d := range docs {
			got += fmt.Sprintf("%q %s\n", d.service, d.text)
		}
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	f(`{}`, "")
	f("{\"web\": {\"ratio\": 0.1},\n \"*\": { \"x-a\":  1 }}\n", "\"web\" {\"ratio\": 0.1}\n\"\" { \"x-a\":  1 }\n")
	f(`{"": {}}`, "\"\" {}\n")
	f(`{"web": {"raito": 0.1}}`, `seed.json:1:10: unknown field "raito" (did you mean "ratio"?)`)
	f("{\n  \"web\": {\n    \"raito\": 0.1}}", `seed.json:3:5: unknown field "raito" (did you mean "ratio"?)`)
	f(`{"web": 1}`, `seed.json:1:9: document must be a JSON object, not a number`)
	f(`{"web": {}, "web": {}}`, `seed.json:1:18: "web" is there twice`)
	f(`{"": {}, "*": {}}`, `seed.json:1:13: "*" is there twice`)
	f(`{"a/b": {}}`, `seed.json:1:7: "a/b" is no service`)
	f(`{"*web": {}}`, `seed.json:1:8: "*web" is no service`)
	f(`[]`, `seed.json:1:2: not a JSON object`)
	f(``, `seed.json:1:1: not a JSON object`)
	f(`{"web": {}`, `seed.json:1:11: not JSON: EOF`)
	f(`{"web": {}} {}`, `seed.json:1:14: something follows the object`)
}

func FuzzParseSeed(f *testing.F) {
	for _, text := range []string{`{}`, `{"web": {"ratio": 0.1}, "*": {}}`, `{"a": {"x": 1}}`, `{"web"`, "{\n\"é\": {\"é\""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := parseSeed("seed.json", []byte(text))
		if (err != nil) == (docs != nil) && err != nil {
			t.Fatalf("%q: %v and %d documents", text, err, len(docs))
		}
	})
}

// The documents of canary.seed are written where there is none, and only there,
// as soon as Consul answers.
func TestSeed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(file, []byte(`{"web": {"ratio": 0.25}, "shop": {"ratio": 1}, "*": {"on_stale": "hold"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.ask("PUT", "/v1/kv/lb/canary/shop", `{"ratio": 0.5}`)
	heal := s.consul.Break(devconsul.Fault{Kind: devconsul.Error500})
	r := s.start(map[string]string{"canary.seed": file})
	if status, _ := r.probe("/health"); status != 200 {
		t.Fatalf("/health = %d", status)
	}
	heal()
	eventually(t, "the documents are written", func() bool {
		_, web := fetch(t, "GET", "http://"+s.addr+"/v1/kv/lb/canary/web?raw", "")
		_, all := fetch(t, "GET", "http://"+s.addr+"/v1/kv/lb/canary?raw", "")
		return web == `{"ratio": 0.25}` && all == `{"on_stale": "hold"}`
	})
	if shop := s.ask("GET", "/v1/kv/lb/canary/shop?raw", ""); shop != `{"ratio": 0.5}` {
		t.Errorf("the document that was there is now %s", shop)
	}
}

func TestASeedThatIsWrongStopsTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(file, []byte(`{"web": {"raito": 0.25}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, talk := session(nil, "run", "--canary.seed", file, "--proxy.addr", "127.0.0.1:0", "--ui.addr", "127.0.0.1:0")
	want := "error: canary.seed: " + file + `:1:10: unknown field "raito" (did you mean "ratio"?)` + "\n" +
		`hint: it holds an object of documents by service, such as {"web": {"ratio": 0.1}}; "*" is the one for all others` + "\n"
	if code != exitUsage || talk != want {
		t.Errorf("%d %s, want %d %s", code, talk, exitUsage, want)
	}
}
