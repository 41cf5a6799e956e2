package mongod

import "context"

// FaultOn adds a command that writes as far as the store and then panics.
func (s *Server) FaultOn(name string) {
	s.commands[name] = command{coll: true, run: func(ctx context.Context, r *request) (document, error) {
		f, err := parseFilter(nil)
		if err != nil {
			return nil, err
		}
		_, err = r.write(func(w *writer, _ *progress) error {
			_, err := r.modify(ctx, w, &modification{
				filter: f, multi: true,
				change: func(document) (document, error) { return nil, nil },
				visit:  func(_, _ document) { panic("a secret value") },
			})
			return err
		})
		return nil, err
	}}
}

// SessionRecords counts the records of sessions on disk.
func (s *Server) SessionRecords() (n int, err error) {
	err = s.each([]byte{spaceSession}, func(_, _ []byte) error { n++; return nil })
	return n, err
}
