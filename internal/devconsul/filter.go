package devconsul

import (
	"fmt"
	"strconv"
	"strings"
)

// parseFilter reads the only filter expressions of this subset: equalities of
// ID or Service with a quoted string, joined by "or". An empty one wants all.
func parseFilter(text string) (wanted func(*service) bool, err error) {
	if text == "" {
		return func(*service) bool { return true }, nil
	}
	ids, names := map[string]bool{}, map[string]bool{}
	bad := fmt.Errorf(`devconsul reads only ID == "…" or Service == "…", joined by or, not %q; run a real agent for more`, text)
	for rest := text; ; {
		field, after, ok := strings.Cut(rest, "==")
		quoted, err := strconv.QuotedPrefix(strings.TrimSpace(after))
		if !ok || err != nil {
			return nil, bad
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, bad
		}
		switch strings.TrimSpace(field) {
		case "ID":
			ids[value] = true
		case "Service":
			names[value] = true
		default:
			return nil, bad
		}
		rest = strings.TrimSpace(strings.TrimSpace(after)[len(quoted):])
		if rest == "" {
			return func(s *service) bool { return ids[s.ID] || names[s.Name] }, nil
		}
		if rest, ok = strings.CutPrefix(rest, "or "); !ok {
			return nil, bad
		}
	}
}
