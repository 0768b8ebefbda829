package admin

import (
	"net/http"

	"serin/schema"
)

// canarySchema answers the JSON Schema of canary documents, for editors.
func (s *Server) canarySchema(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/schema+json")
	_, _ = w.Write(schema.Canary())
}
