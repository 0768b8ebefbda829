package admin

// Version says what a program was built from.
type Version struct {
	Version  string `json:"version"` // "dev" where the build was given none
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // built from a tree with uncommitted changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// String returns one line: "lb 1.2.3 (abcdef012345, go1.26, linux/amd64)".
func (v Version) String() string {
	s := "lb " + v.Version + " ("
	if v.Commit != "" {
		s += v.Commit[:min(12, len(v.Commit))]
		if v.Modified {
			s += "+changes"
		}
		s += ", "
	}
	return s + v.Go + ", " + v.Platform + ")"
}
