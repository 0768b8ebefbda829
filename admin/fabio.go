package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
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
				arm := &p.Arms[name]
				for i, t := range arm.Ready {
					f := fabioRoute{
						Service: p.Service, Host: rt.Host, Path: rt.Path, Src: rt.Host + rt.Path,
						Dst: "http://" + t.Addr + "/", Weight: p.Share * arms[name] * arm.Share(i), Cmd: "route add",
					}
					var opts []string
					for _, o := range options(t.Tag) {
						if o == "proto=https" {
							f.Dst = "https://" + t.Addr + "/"
						}
						if !strings.HasPrefix(o, "weight=") {
							opts = append(opts, o)
						}
					}
					f.Opts = strings.Join(opts, " ")
					for _, tag := range t.Tags {
						if !strings.HasPrefix(tag, s.tagPrefix()) {
							f.Tags = append(f.Tags, tag)
						}
					}
					out = append(out, f)
				}
			}
		}
	}
	return out
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
