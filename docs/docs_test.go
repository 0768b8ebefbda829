package docs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"serin/admin"
	"serin/canary"
	"serin/proxy"
	"serin/registry"
	"serin/route"
)

// lb is the path of the program as it is now.
var lb string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "serin-docs")
	if err != nil {
		panic(err)
	}
	lb = filepath.Join(dir, "lb")
	code := 1
	if out, err := exec.Command("go", "build", "-o", lb, "serin/cmd/lb").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build serin/cmd/lb: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(lb, args...).Output()
	if err != nil {
		t.Fatalf("lb %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks returns the fenced blocks of a page in that language.
func blocks(text, language string) (out []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// section returns what stands under a heading of the second level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("the page has no section %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// rows returns the cells of all tables in the text, without their heads.
func rows(text string) (out [][]string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|---") {
			continue
		}
		line = strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00")
		var cells []string
		for cell := range strings.SplitSeq(line, "|") {
			cells = append(cells, strings.TrimSpace(strings.ReplaceAll(cell, "\x00", "|")))
		}
		out = append(out, cells)
	}
	return out
}

// quoted returns what stands between backquotes.
func quoted(text string) (out []string) {
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// compare reports what only one of two lists has.
func compare(t *testing.T, what string, page, code []string) {
	t.Helper()
	for _, s := range code {
		if !slices.Contains(page, s) {
			t.Errorf("%s %q is missing on the page", what, s)
		}
	}
	for _, s := range page {
		if !slices.Contains(code, s) {
			t.Errorf("the page has %s %q, which does not exist", what, s)
		}
	}
}

func TestOptionsPageIsTheReference(t *testing.T) {
	if got, want := page(t, "OPTIONS.md"), run(t, "config", "reference"); got != want {
		t.Errorf("OPTIONS.md is not what lb says; regenerate it with\n\tgo run ./cmd/lb config reference > docs/OPTIONS.md")
	}
}

// defaults returns the default of every option.
func defaults(t *testing.T) map[string]string {
	out := map[string]string{}
	for _, r := range rows(run(t, "config", "reference")) {
		out[quoted(r[0])[0]] = strings.Trim(r[1], "`")
	}
	if len(out) < 20 {
		t.Fatalf("the reference has %d options only: is it still a table?", len(out))
	}
	return out
}

func TestPagesNameOptionsThatExist(t *testing.T) {
	known := defaults(t)
	name := regexp.MustCompile(`^(proxy|registry|ui|canary|log)\.[A-Za-z.]+(=|$)`)
	variable := regexp.MustCompile(`\bLB_[A-Z_]+[A-Z]`)
	seen := 0
	for _, file := range []string{"CANARY.md", "TAGS.md", "OPERATIONS.md", "FABIO.md"} {
		text := page(t, file)
		if file == "FABIO.md" { // its first column is Fabio's
			text = strings.ReplaceAll(text, section(t, text, "Options"), "")
			for _, r := range rows(section(t, page(t, file), "Options")) {
				if r[1] == "the same" {
					r[1] = r[0]
				}
				text += "\n" + r[1]
			}
		}
		fields := canaryFields()
		for _, q := range quoted(text) {
			key, _, _ := strings.Cut(name.FindString(q), "=")
			if key == "" || slices.Contains(fields, key) {
				continue
			}
			seen++
			if _, ok := known[key]; !ok {
				t.Errorf("%s names the option %s, which does not exist", file, key)
			}
		}
		for _, v := range variable.FindAllString(text, -1) {
			key := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(v, "LB_"), "_", "."))
			if v != "LB_CONFIG" && !slices.ContainsFunc(slices.Collect(maps.Keys(known)), func(k string) bool { return strings.EqualFold(k, key) }) {
				t.Errorf("%s names the variable %s, which does not exist", file, v)
			}
		}
		for _, r := range rows(text) {
			if want, ok := known[strings.Trim(r[0], "`")]; ok && len(r) > 1 && strings.HasPrefix(r[1], "`") && strings.Trim(r[1], "`") != want {
				t.Errorf("%s says that the default of %s is %s, it is `%s`", file, r[0], r[1], want)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d options were found on the pages: the test does not see them", seen)
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	pages, _ := filepath.Glob("*.md")
	for _, file := range pages {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(page(t, file), -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
	}
}

// canaryFields walks the type of a document: "sticky.cookie.name". A type is
// walked where it is met first.
func canaryFields() (out []string) {
	seen := map[reflect.Type]bool{}
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ == reflect.TypeFor[time.Time]() || typ == reflect.TypeFor[canary.Pausing]() {
			return
		}
		seen[typ] = true
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" { // a patch, whose fields are those of the document
				continue
			}
			out = append(out, prefix+name)
			walk(prefix+name+".", f.Type)
		}
	}
	walk("", reflect.TypeFor[canary.Document]())
	return out
}

func TestCanaryFields(t *testing.T) {
	var inTables []string
	for _, r := range rows(section(t, page(t, "CANARY.md"), "Fields")) {
		for _, q := range quoted(r[0]) {
			if regexp.MustCompile(`^[a-z_.]+$`).MatchString(q) && q != "true" && q != "false" {
				inTables = append(inTables, q)
			}
		}
	}
	compare(t, "field", slices.DeleteFunc(inTables, func(s string) bool { return s == "comment" }), canaryFields())

	var inExamples []string
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(prefix, e)
			}
		case map[string]any:
			for name, e := range v {
				inExamples = append(inExamples, prefix+name)
				walk(prefix+name+".", e)
			}
		}
	}
	for _, b := range blocks(page(t, "CANARY.md"), "json") {
		if _, err := canary.Parse("CANARY.md", []byte(b)); err != nil {
			t.Errorf("an example is refused: %v\n%s", err, b)
		}
		var v any
		if err := json.Unmarshal([]byte(b), &v); err != nil {
			t.Error(err)
		}
		walk("", v)
	}
	for _, f := range canaryFields() {
		if !slices.Contains(inExamples, f) {
			t.Errorf("no example uses the field %s", f)
		}
	}
}

// The documents of the pages around it are valid too.
func TestDocumentsOnAllPages(t *testing.T) {
	for _, file := range []string{"ROLLOUTS.md", "MIGRATING.md"} {
		all := blocks(page(t, file), "json")
		if len(all) < 3 {
			t.Errorf("%s has only %d documents", file, len(all))
		}
		for _, b := range all {
			if _, err := canary.Parse(file, []byte(b)); err != nil {
				t.Errorf("an example is refused: %v\n%s", err, b)
			}
		}
	}
}

func TestCanaryRefusals(t *testing.T) {
	text := section(t, page(t, "CANARY.md"), "Invalid, deleted, lost")
	f := func(doc, want string) {
		t.Helper()
		_, err := canary.Parse("lb/canary/web", []byte(doc))
		if err == nil || !strings.Contains(text, err.Error()) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is refused with %q, which is not on the page", doc, err)
		}
	}
	f(`{"raito":0.5}`, "did you mean")
	f(`{"ratio": 10}`, "ratio must be 0..1")
}

func TestTagOptions(t *testing.T) {
	var onPage, inCode []string
	for _, r := range rows(section(t, page(t, "TAGS.md"), "Options")) {
		onPage = append(onPage, r[0]+" "+r[1])
	}
	for usage, doc := range route.TagOptions {
		inCode = append(inCode, "`"+usage+"` "+doc)
	}
	compare(t, "option", onPage, inCode)
}

// table builds a table of instances of one service, each with one of the tags.
func table(instances ...[]string) *route.Table {
	svc := &registry.Service{Name: "web"}
	for i, tags := range instances {
		id := strconv.Itoa(i)
		svc.Instances = append(svc.Instances, registry.Instance{
			Service: "web", ID: id, Node: "n", Datacenter: "dc1", Addr: "10.0.0.1:" + strconv.Itoa(8000+i),
			Tags: tags, Weight: 1, Health: registry.Passing, Ready: true,
		})
	}
	svc.Normalize()
	var b route.Builder
	return b.Build(route.Inputs{Snapshot: registry.New(svc), Splits: route.Splits{}})
}

func TestTagsOnThePage(t *testing.T) {
	text := page(t, "TAGS.md")
	refused := section(t, text, "What is refused")
	var tags []string
	for _, b := range blocks(text, "tags") {
		tags = append(tags, strings.Split(strings.TrimSpace(b), "\n")...)
	}
	for _, q := range quoted(strings.ReplaceAll(text, refused, "")) {
		if strings.HasPrefix(q, "urlprefix-") {
			tags = append(tags, q)
		}
	}
	if len(tags) < 15 {
		t.Errorf("only %d tags were found: the test does not see them", len(tags))
	}
	for _, tag := range tags {
		for _, p := range table([]string{tag}).Problems() {
			t.Errorf("the tag %q is refused: %s", tag, p.Error)
		}
	}
	later := blocks(text, "later")
	if len(later) != 1 {
		t.Fatal("the page has no example of what is not carried yet")
	}
	for tag := range strings.Lines(later[0]) {
		tag = strings.TrimSpace(tag)
		problems := table([]string{tag}).Problems()
		for _, p := range problems {
			if !errors.Is(p.Err, route.ErrNotCarried) {
				t.Errorf("the tag %q is refused: %s", tag, p.Error)
			}
		}
		if len(problems) == 0 {
			t.Errorf("the page says that the tag %q is not carried, but it is", tag)
		}
	}
	for _, r := range rows(refused) {
		tag := strings.Trim(r[0], "`")
		if _, err := route.ParseTag("urlprefix-", tag); err == nil || !strings.HasSuffix(err.Error(), r[1]) {
			t.Errorf("the tag %q\n   is refused with: %v\nthe page has: %s", tag, err, r[1])
		}
	}
}

func TestMetaOnThePage(t *testing.T) {
	meta := map[string]string{}
	for _, r := range rows(section(t, page(t, "TAGS.md"), "Meta")) {
		meta[strings.Trim(r[0], "`")] = strings.Trim(r[1], "`")
	}
	if len(meta) == 0 {
		t.Fatal("the page has no example")
	}
	defaults, errs := route.MetaOptions(meta)
	for _, err := range errs {
		t.Error(err)
	}
	if defaults.String() == "" {
		t.Error("the examples say nothing")
	}
}

// Every option has an example that is parsed.
func TestTagExamples(t *testing.T) {
	text := page(t, "TAGS.md")
	examples := strings.Join(append(blocks(text, "tags"), blocks(text, "later")...), "")
	for usage := range route.TagOptions {
		if name, _, _ := strings.Cut(usage, "="); !strings.Contains(examples, " "+name+"=") {
			t.Errorf("no example has the option %s", name)
		}
	}
}

func TestMatchingOnThePage(t *testing.T) {
	for _, r := range rows(section(t, page(t, "TAGS.md"), "Which route a request gets")) {
		url := strings.Trim(r[1], "`")
		host, path := url[:strings.IndexByte(url, '/')], url[strings.IndexByte(url, '/'):]
		got := table(quoted(r[0])).Match(host, path, false)
		if got == nil || "`urlprefix-"+got.Host+got.Path+"`" != r[2] {
			t.Errorf("%s with %s gets %+v, the page says %s", r[1], r[0], got, r[2])
		}
	}
}

func TestWeightsOnThePage(t *testing.T) {
	for _, r := range rows(section(t, page(t, "TAGS.md"), "Weights")) {
		var instances [][]string
		for w := range strings.SplitSeq(r[0], ", ") {
			tag := "urlprefix-/"
			if w != "none" {
				tag += " weight=" + w
			}
			instances = append(instances, []string{tag})
		}
		shares := make([]string, len(instances))
		for i := range shares {
			shares[i] = "0 %"
		}
		part := table(instances...).Match("a", "/", false).Parts[0]
		for i, target := range part.Arms[route.Stable].Ready {
			n, _ := strconv.Atoi(target.ID)
			shares[n] = strconv.FormatFloat(100*part.Share*part.Arms[route.Stable].Share(i), 'f', 0, 64) + " %"
		}
		if got := strings.Join(shares, ", "); got != r[1] {
			t.Errorf("weights %s give %s, the page says %s", r[0], got, r[1])
		}
	}
}

// metrics returns the names in the source: string literals that look like one.
func metrics(t *testing.T) (names []string) {
	name := regexp.MustCompile(`^lb_[a-z_]+$`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "bin" || d.Name() == "dist" || d.Name() == "e2e"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if s, _ := strconv.Unquote(l.Value); name.MatchString(s) && s != "lb_canary" { // the cookie
					names = append(names, s)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestMetrics(t *testing.T) {
	known := metrics(t)
	var table []string
	for _, r := range rows(section(t, page(t, "OPERATIONS.md"), "Metrics")) {
		table = append(table, quoted(r[0])...)
	}
	compare(t, "metric", table, known)
	pages, _ := filepath.Glob("*.md")
	for _, file := range pages {
		for _, m := range regexp.MustCompile(`\blb_[a-z_]+`).FindAllString(page(t, file), -1) {
			if m != "lb_canary" && !slices.Contains(known, m) {
				t.Errorf("%s names the metric %s, which does not exist", file, m)
			}
		}
	}
}

func TestAPI(t *testing.T) {
	w := httptest.NewRecorder()
	new(admin.Server).Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/", nil))
	served := []string{"/"}
	for _, m := range regexp.MustCompile(`<tr><td>(?:<a [^>]*>)?(/[^<]*)<`).FindAllStringSubmatch(w.Body.String(), -1) {
		served = append(served, m[1])
	}
	var onPage []string
	for _, r := range rows(section(t, page(t, "OPERATIONS.md"), "API")) {
		onPage = append(onPage, quoted(r[0])...)
	}
	compare(t, "path", onPage, served)
}

func TestExitCodes(t *testing.T) {
	var onPage, inCode []string
	for _, r := range rows(section(t, page(t, "OPERATIONS.md"), "Stop")) {
		onPage = append(onPage, r[0]+" "+r[1])
	}
	for line := range strings.SplitSeq(run(t, "help", "exit-codes"), "\n") {
		if code, meaning, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			inCode = append(inCode, code+" "+meaning)
		}
	}
	compare(t, "exit code", onPage, inCode)
}

func TestAccessLogFields(t *testing.T) {
	var fields map[string]any
	line := proxy.AppendLog(nil, proxy.LogJSON, &proxy.Outcome{
		Start: time.Unix(1, 0), Duration: 2, FirstByte: 1,
		Method: "GET", Host: "h", Path: "/", Query: "q", HTTPVersion: "HTTP/1.1", Scheme: "http",
		Client: netip.MustParseAddr("10.0.0.1"), Remote: netip.MustParseAddrPort("10.0.0.1:1"),
		UserAgent: "u", Referer: "r", RequestID: "i",
		Service: "web", Target: &route.Target{Instance: &registry.Instance{Addr: "10.0.0.2:80", ID: "web-1"}}, Status: 502,
		Class: proxy.Reset, FirstClass: proxy.Timeout, Attempts: 2, Panic: true, Err: errors.New("e"),
		Reason: proxy.ReasonRedirect,
	})
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatal(err)
	}
	var onPage []string
	classes := ""
	var inTemplates []string
	for _, r := range rows(section(t, page(t, "OPERATIONS.md"), "Access log")) {
		for _, field := range quoted(r[0]) {
			if name, ok := strings.CutPrefix(field, "$"); ok {
				inTemplates = append(inTemplates, name)
			} else {
				onPage = append(onPage, field)
			}
		}
		if r[0] == "`class`" {
			classes = r[1]
		}
	}
	compare(t, "field", onPage, slices.Collect(maps.Keys(fields)))
	var inCode []string
	for c := proxy.OK; c <= proxy.Answered; c++ {
		inCode = append(inCode, c.String())
	}
	compare(t, "class", quoted(classes), inCode)
	compare(t, "field of templates", inTemplates, append(proxy.LogFields(), "header.NAME"))

	_, reasons, _ := strings.Cut(section(t, page(t, "OPERATIONS.md"), "Metrics"), "Reasons of `lb_answers_total`: ")
	reasons, _, _ = strings.Cut(reasons, "\n\n")
	compare(t, "reason", quoted(reasons), proxy.AnswerReasons())
}

func TestWhy(t *testing.T) {
	_, words, _ := strings.Cut(section(t, page(t, "CANARY.md"), "Looking"), "`why`")
	var inCode []string
	for w := proxy.WhyNone; w <= proxy.WhyPanic; w++ {
		inCode = append(inCode, w.String())
	}
	compare(t, "why", quoted(words), inCode)
}
