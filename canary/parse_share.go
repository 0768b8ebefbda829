package canary

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// share reads a number 0..1, or a percentage in a string.
func (p *parser) share(n node) *float64 {
	hint := `write 0.1 or "10%"`
	var v float64
	var err error
	switch {
	case n.kind == '0':
		v, err = strconv.ParseFloat(n.text, 64)
	case n.kind != '"':
		p.wrong(n, `a number 0..1 or a string like "10%"`)
		return nil
	case strings.HasSuffix(n.text, "%"):
		if v, err = parsePercent(n.text); err != nil {
			p.fail(n, hint, `%s "%s" is not a share`, n.path, short(n.text))
			return nil
		}
	default:
		if f, err := strconv.ParseFloat(n.text, 64); err == nil && f >= 0 && f <= 1 {
			hint = "write " + short(n.text) + " without quotes"
		}
		p.fail(n, hint, `%s "%s" is not a share`, n.path, short(n.text))
		return nil
	}
	if err != nil || !(v >= 0 && v <= 1) {
		if n.kind == '0' && v > 1 && v <= 100 {
			percent := strconv.FormatFloat(v, 'f', -1, 64)
			share, _ := parsePercent(percent + "%")
			hint = fmt.Sprintf("write %s or %q", strconv.FormatFloat(share, 'f', -1, 64), percent+"%")
		}
		p.fail(n, hint, "%s must be 0..1", n.path)
		return nil
	}
	v = math.Abs(v) // -0
	return &v
}

var percentRE = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)%$`)

// parsePercent reads "12.5%" as the number nearest to 0.125.
func parsePercent(s string) (float64, error) {
	m := percentRE.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a percentage", s)
	}
	return strconv.ParseFloat(m[1]+"e-2", 64)
}

// number reads a number; where tells whether it is in the range that want
// describes.
func (p *parser) number(n node, want string, where func(float64) bool) *float64 {
	v, err := strconv.ParseFloat(n.text, 64)
	if n.kind != '0' || err != nil || !where(v) {
		p.wrong(n, want)
		return nil
	}
	return &v
}

// whole reads a whole number of at least least and at most most.
func (p *parser) whole(n node, least, most int) *int {
	v, err := strconv.Atoi(n.text)
	if n.kind != '0' || err != nil || v < least || v > most {
		want := fmt.Sprintf("a whole number of at least %d", least)
		if err == nil && v > most {
			want = fmt.Sprintf("a whole number of at most %d", most)
		}
		p.wrong(n, want)
		return nil
	}
	return &v
}
