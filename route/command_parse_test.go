package route

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseCommands(t *testing.T) {
	// f holds that a line is one command, whose normal form and fields are these.
	f := func(line, want, fields string) {
		t.Helper()
		commands, problems := ParseCommands("k", line)
		if len(commands) != 1 || len(problems) != 0 {
			t.Errorf("%s\n got %d commands, problems %v\nwant one command", line, len(commands), problems)
			return
		}
		c := commands[0]
		if got := c.String(); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
		got := fmt.Sprintf("%s %s %s %g %d %v %v", c.Rule.Host, c.Rule.Path, c.Addr, c.Weight, c.Rule.Options.Proto, c.Tags, c.Rule.Options.Redirect != nil)
		if got != fields {
			t.Errorf("%s\n got %s\nwant %s", line, got, fields)
		}
		if c.Source != "k" || c.Line != 1 {
			t.Errorf("%s: at %s:%d, want k:1", line, c.Source, c.Line)
		}
	}
	f(`route add web / http://10.0.0.7:8080/`, `route add web / http://10.0.0.7:8080/`, ` / 10.0.0.7:8080 -1 0 [] false`)
	f("\t route\tadd  web Shop.Test/a   http://10.0.0.7:8080 \t\r", `route add web shop.test/a http://10.0.0.7:8080`, `shop.test /a 10.0.0.7:8080 -1 0 [] false`)
	f(`route add web shop.test http://10.0.0.7`, `route add web shop.test/ http://10.0.0.7`, `shop.test / 10.0.0.7:80 -1 0 [] false`)
	f(`route add web / https://Web.Internal/`, `route add web / https://Web.Internal/`, ` / web.internal:443 -1 1 [] false`)
	f(`route add web / http://[2001:db8::7]:80`, `route add web / http://[2001:db8::7]:80`, ` / [2001:db8::7]:80 -1 0 [] false`)
	f(`route add web / http://h:1 weight 0.25 tags "a,b" opts "strip=/x host=dst"`, `route add web / http://h:1 weight 0.25 tags "a,b" opts "strip=/x host=dst"`, ` / h:1 0.25 0 [a b] false`)
	f(`route add web / http://h:1 opts "strip=/x" tags " a , b,," weight 0`, `route add web / http://h:1 weight 0 tags "a,b" opts "strip=/x"`, ` / h:1 0 0 [a b] false`)
	f(`route add web / http://h:1 tags "" opts ""`, `route add web / http://h:1`, ` / h:1 -1 0 [] false`)
	f(`route add web / http://h:1 tags a opts strip=/x`, `route add web / http://h:1 tags "a" opts "strip=/x"`, ` / h:1 -1 0 [a] false`)
	f("route add web / http://h:1 opts \"\tweight=0.5  strip=/x\t\"", `route add web / http://h:1 weight 0.5 opts "strip=/x"`, ` / h:1 0.5 0 [] false`)
	f(`route add web / https://h:1 opts "proto=https"`, `route add web / https://h:1`, ` / h:1 -1 1 [] false`)
	f(`route add web /old https://new.test/$path opts "redirect=301"`, `route add web /old https://new.test/$path opts "redirect=301"`, ` /old  -1 0 [] true`)
	f(`route add web /old http://h:1/ opts "redirect=301,https://new.test/$path"`, `route add web /old http://h:1/ opts "redirect=301,https://new.test/$path"`, ` /old h:1 -1 0 [] true`)
	f(`route add web / http://h:1 # until Monday`, `route add web / http://h:1`, ` / h:1 -1 0 [] false`)
	f(`route add web / http://h:1 tags "a#b//c" // until Monday`, `route add web / http://h:1 tags "a#b//c"`, ` / h:1 -1 0 [a#b//c] false`)

	f(`route del web`, `route del web`, `   -1 0 [] false`)
	f(`route del web /a`, `route del web /a`, ` /a  -1 0 [] false`)
	f(`route del web Shop.test/a https://h:1/`, `route del web shop.test/a https://h:1/`, `shop.test /a h:1 -1 1 [] false`)
	f(`route del web /a https://new.test/$path`, `route del web /a https://new.test/$path`, ` /a  -1 0 [] false`)
	f(`route del web tags "a, b"`, `route del web tags "a,b"`, `   -1 0 [a b] false`)
	f(`route del tags "a"`, `route del tags "a"`, `   -1 0 [a] false`)
	f(`route del tags`, `route del tags`, `   -1 0 [] false`)
	f(`route del tags /a`, `route del tags /a`, ` /a  -1 0 [] false`)

	f(`route weight web Shop.test/a weight 0.1`, `route weight web shop.test/a weight 0.1`, `shop.test /a  0.1 0 [] false`)
	f(`route weight web / weight 1e9 tags "a,b"`, `route weight web / weight 1e+09 tags "a,b"`, ` /  1e+09 0 [a b] false`)
	f(`route weight web / tags "a" weight 0`, `route weight web / weight 0 tags "a"`, ` /  0 0 [a] false`)
	f(`route weight shop.test/a weight .5 tags "a"`, `route weight shop.test/a weight 0.5 tags "a"`, `shop.test /a  0.5 0 [a] false`)
}

func TestParseCommandsNothing(t *testing.T) {
	for _, text := range []string{"", "\n\n", " \t\n\r\n", "# a comment", "  // another\n#", "\uFEFF# a comment"} {
		if c, p := ParseCommands("k", text); len(c) != 0 || len(p) != 0 {
			t.Errorf("%q: %v %v, want nothing", text, c, p)
		}
	}
	if c, p := ParseCommands("k", "\uFEFFroute del web"); len(c) != 1 || len(p) != 0 {
		t.Errorf("behind a byte order mark: %v %v, want a command", c, p)
	}
}

func TestParseCommandsRefuses(t *testing.T) {
	// f holds that a line is refused at a column.
	f := func(line string, column int, want string) {
		t.Helper()
		commands, problems := ParseCommands("lb/routes/10-web", "\n"+line+"\nroute del web")
		if len(commands) != 1 || commands[0].Line != 3 || len(problems) != 1 {
			t.Errorf("%s\n got %v, problems %v\nwant one problem, and the line behind it", line, commands, problems)
			return
		}
		p := problems[0]
		if where := fmt.Sprintf("lb/routes/10-web:2:%d", column); p.Where != where || p.Error != want || p.Err == nil || p.Err.Error() != want {
			t.Errorf("%s\n got %s: %s\nwant %s: %s", line, p.Where, p.Error, where, want)
		}
	}
	f(`rout add web / http://h:1`, 1, `a command begins with route, not with "rout": write route add, route del or route weight`)
	f(`route`, 6, `the line ends where add, del or weight is wanted`)
	f(`route  ad web`, 8, `unknown command "ad": want add, del or weight`)
	f(`route "add" web`, 7, `add, del or weight is wanted here, without quotes`)
	f(`route add`, 10, `the line ends where the name of a service is wanted`)
	f(`route add web`, 14, `the line ends where a route, as [host]/path, is wanted`)
	f(`route add web /`, 16, `the line ends where a destination, as http://host:port, is wanted`)
	f(`route add web "/" http://h:1`, 15, `a route, as [host]/path, is wanted here, without quotes`)
	f(`route add web / h:1`, 17, `destination "h:1": want http://host:port, or https, tcp, grpc or grpcs in place of http`)
	f(`route add web / ftp://h:1`, 17, `destination "ftp://h:1": want http://host:port, or https, tcp, grpc or grpcs in place of http`)
	f(`route add web / http://h:1/x`, 28, `destination "http://h:1/x": a destination has no path; add one to what is forwarded with opts "prepend=/x"`)
	f(`route add web / http://h:99999`, 25, `destination "http://h:99999": port "99999" is not a number from 1 to 65535`)
	f(`route add web / http://u@h:1`, 25, `destination "http://u@h:1": host "u@h:1": '@' cannot be part of a host`)
	f(`route add web / tcp://h`, 24, `destination "tcp://h" has no port: write tcp://h:port`)
	f(`route add wéb /a?b http://h:1`, 17, `'?' in a path: a route matches the path only; write the character as %3F if it is part of it`)
	f(`route add web / http://h:1 weight`, 34, `the line ends where the value of weight is wanted`)
	f(`route add web / http://h:1 weight x`, 35, `weight "x" is not a number`)
	f(`route add web / http://h:1 weight Inf`, 35, `weight "Inf": want 0, or a number from 1e-09 to 1e+09`)
	f(`route add web / http://h:1 weight NaN`, 35, `weight "NaN" is not a number`)
	f(`route add web / http://h:1 weight -1`, 35, `weight "-1": want 0, or a number from 1e-09 to 1e+09`)
	f(`route add web / http://h:1 weight 1 weight 2`, 37, `weight is given twice`)
	f(`route add web / http://h:1 weight 1 opts "strip=/x weight=2"`, 52, `the weight is given twice: before opts, and in them`)
	f(`route add web / http://h:1 opts "strip=/x wieght=2"`, 43, `unknown option "wieght": did you mean "weight"?`)
	f(`route add web / http://h:1 opts strip=/x host=dst`, 42, `"host=dst" is too much: only weight, tags, opts may follow`)
	f(`route add web / http://h:1 "tags" "a"`, 28, `"tags" is too much: only weight, tags, opts may follow`)
	f(`route add web / http://h:1 opts "proto=https"`, 17, `the destination is http:// and opts say proto=https: let both say the same`)
	f(`route add web / https://h/$path opts "redirect=200"`, 48, `redirect code "200" is not from 300 to 399`)
	f(`route add web / ftp://h opts "redirect=301"`, 40, `redirect url "ftp://h": want http://…, https://… or a path that starts with /`)
	f(`route add web / http://h:1 tags "a`, 33, `the quote is not closed`)
	f(`route add web / http://h:1 tags "a"b"`, 36, `want a blank after the closing quote; a value cannot hold a quote`)
	f(`route add web / http://h:1 tags="a"`, 33, `a quote inside a word: want a blank before it`)
	f("route add web\u00a0/ http://h:1", 14, `U+00A0 does not separate words: write a plain blank`)
	f("route add web / http://h:1\x00", 27, `control character '\x00' in a line`)
	f("route add w\xffb / http://h:1", 12, `the line is not valid UTF-8`)
	f(`route del`, 10, `the line ends where the name of a service, or tags "…", is wanted`)
	f(`route del web /a http://h:1 x`, 29, `"x" is too much: the command ends before it`)
	f(`route del web /a tags "x"`, 18, `destination "tags": want http://host:port, or https, tcp, grpc or grpcs in place of http`)
	f(`route del web tags " , "`, 21, `no tag between the quotes: the line would remove every target`)
	f(`route del web tags "a" opts "b"`, 24, `"opts" is too much: only tags may follow`)
	f(`route weight`, 13, `the line ends where the name of a service, or a route, is wanted`)
	f(`route weight web /`, 19, `the line ends where weight and a number are wanted`)
	f(`route weight / weight 0.1`, 26, `the line must name a service or tags: route weight <src> weight <w> tags "t1,t2"`)
	f(`route weight web / weight 0.1 tags ""`, 38, `the line must name a service or tags: route weight <src> weight <w> tags "t1,t2"`)
	f(`route weight web / weight 1e10`, 27, `weight "1e10": want 0, or a number from 1e-09 to 1e+09`)
	f(`route add web /`+strings.Repeat("a", maxTag)+` http://h:1`, 15+maxTag, fmt.Sprintf("the route and its options are %d bytes long: at most 2048 are read", maxTag+1))
	f(`route add web / http://h:1 #`+strings.Repeat("a", maxLine), maxLine+1, fmt.Sprintf("the line is %d bytes long: at most 8192 are read", maxLine+28))
}

// A mistake beside a protection does not take the protection away.
func TestParseCommandsFailClosed(t *testing.T) {
	f := func(line, column, wantLine string) {
		t.Helper()
		commands, problems := ParseCommands("k", line)
		if len(commands) != 1 || commands[0].String() != wantLine || len(problems) != 1 || problems[0].Where != "k:1:"+column || problems[0].Service != "web" {
			t.Fatalf("%s\n got %v, problems %v\nwant %s and a problem at column %s", line, commands, problems, wantLine, column)
		}
		if a := commands[0].Rule.Options.Access; a == nil || a.Permits([]netip.Addr{netip.MustParseAddr("10.0.0.1")}) {
			t.Errorf("%s lets somebody in", line)
		}
		checkNormalForm(t, commands[0])
	}
	f(`route add web / https://h:1 opts "strip=/x allow=ip:10.0.0.0/33"`, "50", `route add web / https://h:1 opts "allow=none"`)
	f(`route add web / http://h:1 opts "deny=ip:10.0.0.1 wieght=1"`, "51", `route add web / http://h:1 opts "allow=none"`)
	f(`route add web / grpc://h:1 weight 0.5 tags "a" opts "allow"`, "59", `route add web / grpc://h:1 weight 0.5 tags "a" opts "allow=none"`)
	commands, problems := ParseCommands("k", `route add web / https://h/$path opts "redirect=301 allow=x"`)
	if len(commands) != 0 || len(problems) != 1 {
		t.Errorf("a redirect that keeps nobody from anything\n got %v, problems %v\nwant a problem alone", commands, problems)
	}
}

func TestParseCommandsLimits(t *testing.T) {
	c, p := ParseCommands("k", strings.Repeat("route del web\n", maxCommands))
	if len(c) != maxCommands || len(p) != 0 {
		t.Errorf("%d commands, problems %v", len(c), p)
	}
	c, p = ParseCommands("k", strings.Repeat("route del web\n", maxCommands+2))
	if len(c) != maxCommands || len(p) != 1 || p[0].Where != "k:10001:1" || p[0].Error != "at most 10000 route commands are read: this line and those after it do not count" {
		t.Errorf("%d commands, problems %v", len(c), p)
	}
	big := "# " + strings.Repeat("a", 100) + "\n"
	big = "route del web\n" + strings.Repeat(big, maxText/len(big)+1)
	c, p = ParseCommands("k", big)
	if len(c) != 0 || len(p) != 1 || p[0].Where != "k:1:1" || !strings.HasPrefix(p[0].Error, fmt.Sprintf("the text is %d bytes long", len(big))) {
		t.Errorf("%d commands, problems %v", len(c), p)
	}
	c, p = ParseCommands("k", strings.Repeat("bad\n", 5000)+"route del web")
	if len(c) != 1 || len(p) != maxRefused+1 || p[maxRefused].Error != "4900 more lines are refused: mend the 100 above first" {
		t.Errorf("%d commands, %d problems, the last %v", len(c), len(p), p[len(p)-1])
	}
}

func TestParseOverridesSharesTheLimits(t *testing.T) {
	half := strings.Repeat("#", 8000) + "\n"
	half = "route del web\n" + strings.Repeat(half, maxText/2/len(half))
	o := ParseOverrides(CommandText{"a", half}, CommandText{"b", half}, CommandText{"c", half}, CommandText{"d", "route del shop"})
	if len(o.Commands) != 3 || len(o.Problems) != 1 || o.Problems[0].Where != "c:1:1" || o.Commands[2].Source != "d" {
		t.Errorf("got %v, problems %v", o.Commands, o.Problems)
	}
	o = ParseOverrides(CommandText{"a", strings.Repeat("route del web\n", maxCommands-1)}, CommandText{"b", "route del web\n#\nroute del web"}, CommandText{"c", "route del web"})
	if len(o.Commands) != maxCommands || len(o.Problems) != 2 || o.Problems[0].Where != "b:3:1" || o.Problems[1].Where != "c:1:1" {
		t.Errorf("%d commands, problems %v", len(o.Commands), o.Problems)
	}
	o = ParseOverrides()
	if o == nil || o.Commands != nil || o.Problems != nil {
		t.Errorf("of nothing: %v", o)
	}
}

// sameCommand compares what a command says.
func sameCommand(a, b Command) bool {
	a.Source, a.Line, b.Source, b.Line = "", 0, "", 0
	return reflect.DeepEqual(a, b)
}

func checkNormalForm(t interface{ Fatalf(string, ...any) }, c Command) {
	line := c.String()
	again, problems := ParseCommands("k", line)
	if len(again) != 1 || len(problems) != 0 {
		t.Fatalf("normal form %s is refused: %v", line, problems)
	}
	if !sameCommand(c, again[0]) || again[0].String() != line {
		t.Fatalf("normal form %s\nis read as %s\n%+v\n%+v", line, again[0].String(), c, again[0])
	}
}

func TestCommandsHaveANormalForm(t *testing.T) {
	pick := func(t *rapid.T, label string, values ...string) string {
		return rapid.SampledFrom(values).Draw(t, label)
	}
	rapid.Check(t, func(t *rapid.T) {
		service := pick(t, "service", "web", "tags", "weight", "opts", "route", "Wéb", "a/b", "x:y")
		src := pick(t, "src", "/", "shop.test", "Shop.Test/a", "*.test/a%2Fb", "[2001:db8::7]:99/", "/%24x", "weight", "tags")
		weight := pick(t, "weight", "", "0", "0.1", "1e9", ".333333333333333333", "1e-9")
		tags := pick(t, "tags", "", "a", "a,b", " a , b ", "a b,c", "x#y,//")
		opts := pick(t, "opts", "", "strip=/x", "host=dst prepend=/p", "redirect=302,/new$path", "redirect=307", "proto=https", "tlsskipverify=true  strip=x")
		dst := pick(t, "dst", "http://h:1", "http://H:1/", "https://h", "HTTPS://h:443/", "http://[::1]:80")
		clause := func(name, value string) string {
			if value == "" {
				return ""
			}
			return " " + name + ` "` + value + `"`
		}
		w := ""
		if weight != "" {
			w = " weight " + weight
		}
		var line string
		switch pick(t, "command", "add", "del", "weight") {
		case "add":
			line = "route add " + service + " " + src + " " + dst + w + clause("tags", tags) + clause("opts", opts)
		case "del":
			line = "route del " + pick(t, "form", service, service+" "+src, service+" "+src+" "+dst, service+clause("tags", tags), strings.TrimSpace(clause("tags", tags)))
		case "weight":
			line = "route weight " + pick(t, "form", service+" "+src+w, service+" "+src+w+clause("tags", tags), src+w+clause("tags", tags))
		}
		commands, _ := ParseCommands("k", line)
		for _, c := range commands {
			checkNormalForm(t, c)
		}
	})
}

func FuzzCommands(f *testing.F) {
	for _, seed := range []string{
		"route add web / http://h:1 weight 0.25 tags \"a,b\" opts \"strip=/x host=dst\"\n# comment\nroute del web",
		"route del web /a https://h:1/\nroute del tags \"x\"\nroute del web tags \"a\"",
		"route weight web / weight 0.1 tags \"a\"\nroute weight / weight 1 tags \"a\"",
		"route add web /old https://new.test/$path opts \"redirect=301\"",
		"route add web :1234 tcp://h:1 opts \"proto=tcp\"\r\n\uFEFF\x00",
		"route add web / grpcs://h:1 opts \"grpcservername=x allow=ip:10.0.0.0/8\"",
		"route add web / grpC://h:1 opts \"allow \"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		commands, problems := ParseCommands("k", text)
		if n := strings.Count(text, "\n") + 1; len(commands) > n || len(problems) > n+1 {
			t.Fatalf("%d commands and %d problems in %d lines", len(commands), len(problems), n)
		}
		for _, p := range problems {
			if p.Error == "" || !strings.HasPrefix(p.Where, "k:") {
				t.Fatalf("problem %+v", p)
			}
		}
		for _, c := range commands {
			checkNormalForm(t, c)
		}
	})
}
