package main

import (
	"reflect"
	"regexp"
	"strings"
	"time"

	"serin/canary"
)

// descriptions reads what the tables of the page say of each field:
// "sticky.cookie.name" → its meaning and its default.
func descriptions(page string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(strings.ReplaceAll(line, `\|`, "\x00")), "|"), " | ")
		m := regexp.MustCompile("^`([a-z_.]+)`$").FindStringSubmatch(strings.TrimSpace(cells[0]))
		if m == nil || len(cells) < 3 {
			continue
		}
		text := plain(cells[len(cells)-1])
		if value := plain(cells[2]); len(cells) > 3 && value != "" && value != "none" {
			text += " (default: " + value + ")"
		}
		out[m[1]] = text
	}
	return out
}

var linkRE = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

// plain is a cell without Markdown.
func plain(cell string) string {
	cell = linkRE.ReplaceAllString(strings.ReplaceAll(cell, "\x00", "|"), "$1")
	return strings.TrimSpace(strings.NewReplacer("`", "", "**", "").Replace(cell))
}

// paths tells under which name the page has each field of each type. A type
// that is met twice is described where it is met first.
func paths() map[reflect.Type]map[string]string {
	out := map[reflect.Type]map[string]string{}
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || out[typ] != nil || typ == reflect.TypeFor[time.Time]() {
			return
		}
		out[typ] = map[string]string{}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			out[typ][f.Name] = prefix + name
			walk(prefix+name+".", f.Type)
		}
	}
	walk("", reflect.TypeFor[canary.Document]())
	return out
}
