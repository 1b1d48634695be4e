package server

import (
	"cmp"
	"net/http"
	"slices"
)

// PrincipalStatus is the report of [Server.PrincipalsHandler] about one principal, about a /56 or
// /48 around IPv6 addresses, or about a load balancer. A prefix and a balancer are charged for all
// principals within them.
type PrincipalStatus struct {
	Name      string   `json:"name,omitempty"`      // of its grant
	Addresses string   `json:"addresses,omitempty"` // if it has no name, such as 192.0.2.1/32, or 192.0.2.1:5000 for a connection by a balancer
	Sessions  int64    `json:"sessions"`
	Topics    int64    `json:"topics"`             // those in their grace time too
	Circuits  int64    `json:"circuits"`           // offers included
	AtLimit   []string `json:"at_limit,omitempty"` // of what it was refused more, and has given nothing back since
}

// resourceNames are the resources as [PrincipalStatus] has them.
var resourceNames = [numResources]string{
	resourceSessions: "sessions", resourceTopics: "topics", resourceCircuits: "circuits", resourceAuthorizing: "authorizing",
}

// Principals returns who holds what, those with most sessions first. It copies what the ledger has
// of all.
func (s *Server) Principals() []PrincipalStatus {
	all := s.ledger.principals()
	slices.SortFunc(all, func(a, b PrincipalStatus) int {
		return cmp.Or(cmp.Compare(b.Sessions, a.Sessions), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Addresses, b.Addresses))
	})
	return all
}

// principals returns the accounts that hold something, in no order.
func (l *ledger) principals() []PrincipalStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := []PrincipalStatus{}
	for a, r := range l.rows {
		if r.held == [numResources]int64{} {
			continue
		}
		p := PrincipalStatus{
			Name: a.name, Sessions: r.held[resourceSessions], Topics: r.held[resourceTopics], Circuits: r.held[resourceCircuits],
		}
		if a.name == "" {
			p.Addresses = a.String()
		}
		for i, full := range r.full {
			if full {
				p.AtLimit = append(p.AtLimit, resourceNames[i])
			}
		}
		all = append(all, p)
	}
	return all
}

// PrincipalsHandler answers GET with the JSON of [Server.Principals]. It tells names and
// addresses, so it is for operators alone.
func (s *Server) PrincipalsHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !getOnly(w, r) {
			return
		}
		writeJSON(w, struct {
			Principals []PrincipalStatus `json:"principals"`
		}{s.Principals()})
	})
}
