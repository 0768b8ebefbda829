package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"serin/route"
)

// fabioRoute is one target in the form that Fabio's /api/routes has had since
// 1.0; scripts read it.
type fabioRoute struct {
	Service string   `json:"service"`
	Host    string   `json:"host"`
	Path    string   `json:"path"`
	Src     string   `json:"src"`
	Dst     string   `json:"dst"`
	Opts    string   `json:"opts"`
	Weight  float64  `json:"weight"`
	Tags    []string `json:"tags,omitempty"`
	Cmd     string   `json:"cmd"`
	Rate1   float64  `json:"rate1"` // always 0, as in Fabio
	Pct99   float64  `json:"pct99"` // always 0, as in Fabio
}

func (s *Server) fabioTable() []fabioRoute {
	out := []fabioRoute{}
	for rt := range s.tableRoutes() {
		for _, p := range rt.Parts {
			arms := p.Shares()
			for name := range p.Arms {
				arm := p.Arms[name]
				for i, t := range arm.Ready {
					f := fabioRoute{
						Service: p.Service, Host: rt.Host, Path: rt.Path, Src: rt.Host + rt.Path,
						Weight: p.Share * arms[name] * arm.Share(i), Cmd: "route add",
					}
					f.Dst, f.Opts = fabioForm(t)
					if tags := otherTags(t, s.tagPrefix()); len(tags) > 0 {
						f.Tags = tags
					}
					out = append(out, f)
				}
			}
		}
	}
	return out
}

// fabioForm returns a target's destination and options as Fabio has them: the
// protocol is the destination's scheme, the URL of a redirect the destination,
// and the weight stands alone. The options are in the order of docs/TAGS.md.
func fabioForm(t *route.Target) (dst, opts string) {
	o := *t.Options
	scheme, end := "http", "/"
	switch o.Proto {
	case route.HTTPS:
		scheme = "https"
	case route.TCP:
		scheme, end = "tcp", ""
	case route.GRPC:
		scheme, end = "grpc", ""
	case route.GRPCS:
		scheme, end = "grpcs", ""
	}
	dst = scheme + "://" + t.Addr + end
	o.Proto, o.Weight = route.HTTP, -1
	code := ""
	if r := o.Redirect; r != nil {
		dst, code, o.Redirect = r.URL, " redirect="+strconv.Itoa(r.Code), nil
	}
	return dst, strings.TrimSpace(o.String() + code)
}

func (s *Server) fabioRoutes(w http.ResponseWriter, r *http.Request) {
	table, q := s.fabioTable(), r.URL.Query()
	if q.Has("raw") {
		var b strings.Builder
		for _, f := range table {
			fmt.Fprintf(&b, "route add %s %s %s weight %.4f", f.Service, f.Src, f.Dst, f.Weight)
			if f.Tags != nil {
				fmt.Fprintf(&b, " tags %q", strings.Join(f.Tags, ","))
			}
			if f.Opts != "" {
				fmt.Fprintf(&b, " opts %q", f.Opts)
			}
			b.WriteByte('\n')
		}
		plain(w, http.StatusOK, strings.TrimSuffix(b.String(), "\n"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if q.Has("pretty") {
		enc.SetIndent("", "    ")
	}
	_ = enc.Encode(table)
}

func (s *Server) fabioConfig(w http.ResponseWriter, _ *http.Request) {
	out := map[string]string{}
	for _, c := range s.Config {
		out[c.Key] = c.Value
	}
	answer(w, out)
}

func (s *Server) fabioVersion(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, s.Version.Version)
}
