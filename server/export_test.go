package server

// RestAll has all circuits come to rest, bytes or not.
func (s *Server) RestAll() {
	m := s.router.memory
	var all []*direction
	m.mu.Lock()
	for c := range m.circuits {
		all = append(all, &c.toClient, &c.toPeer)
	}
	m.mu.Unlock()
	for _, d := range all {
		d.rest()
	}
}
