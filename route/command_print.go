package route

import (
	"strconv"
	"strings"
)

// String returns the command as a line in normal form: ParseCommands reads the
// same command from it, but for Source and Line, for every command that
// ParseCommands returned.
func (c *Command) String() string {
	words := []string{"route"}
	weight := ""
	if c.Weight >= 0 {
		weight = strconv.FormatFloat(c.Weight, 'g', -1, 64)
	}
	src := c.Rule.Host + c.Rule.Path
	switch c.Op {
	case RouteAdd:
		words = append(words, "add", c.Service, src, c.Dst)
	case RouteDel:
		words = append(words, "del", c.Service, src, c.Dst)
	case RouteWeight:
		words = append(words, "weight", c.Service, src)
	}
	if weight != "" {
		words = append(words, "weight", weight)
	}
	if c.Tags != nil {
		words = append(words, "tags", `"`+strings.Join(c.Tags, ",")+`"`)
	}
	if opts := c.opts(); opts != "" {
		words = append(words, "opts", `"`+opts+`"`)
	}
	out := words[:0]
	for _, w := range words {
		if w != "" {
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// opts are the options that stand between quotes: the weight and the protocol
// have their own places.
func (c *Command) opts() string {
	if c.Op != RouteAdd {
		return ""
	}
	o := c.Rule.Options
	o.Weight = -1
	redirect := ""
	if o.Redirect != nil && c.Addr == "" {
		redirect = " redirect=" + strconv.Itoa(o.Redirect.Code)
		o.Redirect = nil
	} else {
		o.Proto = HTTP
	}
	return strings.TrimSpace(o.String() + redirect)
}
