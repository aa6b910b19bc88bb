// Package store keeps every choice: one bbolt file, closure transactions, an
// immutable model.Snapshot per revision, and a signal when it moves.
//
//	s, err := store.Open(path)
//	snap, err := s.Update(func(tx *store.Tx) error { … })  // durable when it returns
//	snap, err := s.Soft(func(tx *store.Tx) error { … })    // visible at once; on disk with the
//	                                                       // next Update or within 100 ms. For what the
//	                                                       // runtime's own files tell again after a crash.
//	s.Snapshot(); <-s.Changed()                            // Changed's channel closes at the next revision
//
// Tx: Snapshot() *model.Snapshot shows the transaction's own writes;
// PutContainer, PutNetwork, PutEndpoint, PutLink, PutVolume take a pointer the
// caller gives up; DeleteContainer(id), DeleteNetwork(id), DeleteEndpoint(id),
// DeleteLink(id), DeleteVolume(name). An error or panic in the closure leaves
// everything as it was. Updates of several goroutines share one fsync.
package store
