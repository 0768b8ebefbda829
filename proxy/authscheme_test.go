package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParseAuthSchemes(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		schemes, err := ParseAuthSchemes(text)
		got := ""
		for _, s := range schemes {
			got += fmt.Sprintf("[%s %s %s %q %v]", s.Name, s.Type, s.File, s.Realm, s.Refresh)
		}
		if err != nil {
			got += err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	f("", "")
	f(" , ,;", "")
	f("name=a;type=basic;file=/f", `[a basic /f "a" 1s]`)
	f("name=a;type=basic;file=/f;", `[a basic /f "a" 1s]`)
	f(" name = a ; type = basic ; file = /f ", `[a basic /f "a" 1s]`)
	f("name=a;type=basic;file=/f;realm=The Place;refresh=30s", `[a basic /f "The Place" 30s]`)
	f("name=a;type=basic;file=/f;refresh=1ms", `[a basic /f "a" 1s]`) // as Fabio
	f("name=a;type=basic;file=/f,name=b;file=/g;type=basic", `[a basic /f "a" 1s][b basic /g "b" 1s]`)
	f(`name=a;type=basic;file="/f,1;2";realm='say "hi"'`, `[a basic /f,1;2 "say \"hi\"" 1s]`)
	f(`name=a;type=basic;file=/f;realm="say \"hi\" \\ \n"`, `[a basic /f "say \"hi\" \\ n" 1s]`)
	f("name=a;type=basic;file=/f=g;realm=Bob's", `[a basic /f=g "Bob's" 1s]`)

	f("name=a;type=basic", `auth scheme at byte 0: scheme "a" has no file: write file= and the path of an htpasswd file`)
	f("name=a;file=/f", `auth scheme at byte 0: scheme "a" has no type: write type=basic`)
	f("type=basic;file=/f", "auth scheme at byte 0: it has no name: write name=…, which routes use as auth=…")
	f("name=a;type=basic;file=/f,name=b;type=digest", `auth scheme at byte 26: type "digest" is not known: write type=basic`)
	f("name=a;type=basic;file=/f,name=a;type=basic;file=/g", `auth scheme "a" is there twice: give each its own name`)
	f("name=a;name=b", "auth scheme at byte 0: name is there twice")
	f("name=a b", `auth scheme at byte 0: the name "a b" holds a blank: an option auth= could not name it`)
	f("name=a;typ=basic", `auth scheme at byte 0: "typ" is not known: want name, type, file, realm or refresh`)
	f("name=a;type=basic;file=", "auth scheme at byte 0: file has no value")
	f("name=a;basic", `byte 7: "basic" has no value: write key=value`)
	f("a;type=basic", `byte 0: "a" has no value: write key=value`)
	f(`name=a;file="/f`, `byte 12: the quote " is not closed`)
	f(`name=a;file="/f\`, `byte 12: the quote " is not closed`)
	f("name=a;refresh=soon", `auth scheme at byte 0: refresh "soon" is no duration: write one such as 5s`)
	f("name=a;refresh=-1s", `auth scheme at byte 0: refresh "-1s" is no duration: write one such as 5s`)
	f("name=a;realm=x\ny", `auth scheme at byte 0: the value "x\ny" of realm holds a control character`)
	f("name=a;=x", `auth scheme at byte 0: "" is not known: want name, type, file, realm or refresh`)
}

// FuzzParseAuthSchemes: what is read can be written down and read again, and
// nothing in it can break out of a header.
func FuzzParseAuthSchemes(f *testing.F) {
	f.Add("name=a;type=basic;file=/f;realm=r;refresh=5s,name=b;type=basic;file=g")
	f.Add(`name=a;type=basic;file="/f,1;2";realm='\''`)
	f.Add(`name="a;type=basic`)
	f.Add(",;=\x00'\"\\")
	f.Fuzz(func(t *testing.T, text string) {
		schemes, err := ParseAuthSchemes(text)
		if err != nil {
			if schemes != nil || err.Error() == "" {
				t.Fatalf("an error, and %v", schemes)
			}
			return
		}
		var again []string
		for _, s := range schemes {
			if s.Name == "" || s.File == "" || s.Type != "basic" || s.Refresh < time.Second || s.Realm == "" || strings.ContainsAny(s.Realm, "\r\n\x00") {
				t.Fatalf("%q gives %+v", text, s)
			}
			quote := func(v string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"` }
			again = append(again, fmt.Sprintf("name=%s;type=basic;file=%s;realm=%s;refresh=%s", quote(s.Name), quote(s.File), quote(s.Realm), s.Refresh))
		}
		back, err := ParseAuthSchemes(strings.Join(again, ","))
		if err != nil || fmt.Sprint(back) != fmt.Sprint(schemes) {
			t.Fatalf("%q\n gives %v\nwritten %q\n gives %v, %v", text, schemes, again, back, err)
		}
	})
}
