package route

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"serin/internal/spelling"
)

// metaPrefix marks the keys of an instance's meta that are options.
const metaPrefix = "lb-"

// Defaults are the options that an instance's meta gives to all of its routes.
// The zero value is none. They are immutable.
type Defaults struct {
	words []metaWord
	key   string
}

// metaWord is one option of the meta.
type metaWord struct {
	key, value string
	row        int
}

// String is the same for the same defaults, "" for none.
func (d Defaults) String() string { return d.key }

// MetaOptions reads the options in an instance's meta: the key lb-timeout is
// the option timeout, lb-reqheader-set the option reqheader.set; what may stand
// several times in a tag may have a number behind it here, lb-header-2. Values
// are those of a tag, but may hold blanks. Other keys mean nothing.
//
// What the tag says itself goes before: an option that it has is not taken from
// the meta, and neither is one that says the same in another way (deny where
// the tag has allow; strip, prepend and rewrite).
//
// The errors are keys that look like options and are none, and values that
// cannot be read: they are left out, and the routes stay. Only lb-allow and
// lb-deny that cannot be read keep everybody out. An error names its key.
func MetaOptions(meta map[string]string) (Defaults, []error) {
	var d Defaults
	var errs []error
	some := false
	for key := range meta {
		some = some || strings.HasPrefix(key, metaPrefix)
	}
	if !some {
		return d, nil // nearly always
	}
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		written, ok := strings.CutPrefix(key, metaPrefix)
		if !ok {
			continue
		}
		row, known := metaRow(written)
		value := strings.TrimSpace(meta[key])
		err := checkText("value", value, 0)
		switch {
		case !known:
			errs = append(errs, fmt.Errorf("meta %s: there is no such option%s", brief(key), metaDidYouMean(written)))
			continue
		case len(value) > maxTag:
			err = fmt.Errorf("the value is %d bytes long: at most %d are read", len(value), maxTag)
		case err == nil && value == "":
			err = fmt.Errorf("no value: want %s", tagOptions[row].value)
		}
		if err == nil {
			// Alone, so that it fails here and not on every route.
			o := plain()
			err = tagOptions[row].parse(&o, value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("meta %s: %w", brief(key), err))
			if tagOptions[row].group != "access" {
				continue
			}
			row, value = rowOf["allow"], "none"
		}
		d.words = append(d.words, metaWord{key, value, row})
		d.key += key + "\x00" + value + "\x00"
	}
	o := plain()
	return d, append(errs, d.apply(&o, new([len(tagOptions)]bool))...)
}

// metaRow returns the row of the option that a key means, without its prefix.
func metaRow(written string) (row int, known bool) {
	name := strings.Replace(written, "-", ".", 1)
	if row, known = rowOf[name]; known {
		return row, true
	}
	if i := strings.LastIndexByte(written, '-'); i > 0 && i < len(written)-1 && strings.Trim(written[i+1:], "0123456789") == "" {
		row, known = rowOf[strings.Replace(written[:i], "-", ".", 1)]
		return row, known && tagOptions[row].many
	}
	return 0, false
}

// metaDidYouMean returns a hint when a key is close to a known one.
func metaDidYouMean(written string) string {
	name := spelling.Nearest(strings.Replace(written, "-", ".", 1), optionNames)
	if name == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", metaPrefix+strings.Replace(name, ".", "-", 1))
}

// apply sets in o what the tag does not say itself. What cannot stand with the
// rest is left out and returned.
func (d Defaults) apply(o *Options, named *[len(tagOptions)]bool) (refused []error) {
	if len(d.words) == 0 {
		return nil
	}
	groups := make(map[string]bool)
	for row, is := range named {
		if is && tagOptions[row].group != "" {
			groups[tagOptions[row].group] = true
		}
	}
	for _, w := range d.words {
		row := &tagOptions[w.row]
		if named[w.row] || groups[row.group] {
			continue
		}
		before := *o
		if err := row.parse(o, w.value); err != nil {
			if row.group != "access" {
				*o = before
			}
			refused = append(refused, fmt.Errorf("meta %s: %w", brief(w.key), err))
		}
	}
	return refused
}
