package admin

// Setting is one option of the configuration, for people: secrets are redacted
// by whoever makes it.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"` // "default", "flag --proxy.addr", "env LB_…", "lb.yaml:3:5"
}
