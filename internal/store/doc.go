// Package store keeps every choice: one bbolt file, closure transactions, an
// immutable model.Snapshot per revision, and a signal when it moves.
//
//	s, err := store.Open(path)
//	snap, err := s.Update(func(tx *store.Tx) error { … })  // durable when it returns
//	snap, err := s.Soft(func(tx *store.Tx) error { … })    // visible at once; on disk with the
//	                                                       // next Update or within 100 ms. For what the
//	                                                       // runtime's own files tell again after a crash.
//	changed := s.Changed(); snap := s.Snapshot(); <-changed // the channel closes at the next revision
//
// Tx: Snapshot() *model.Snapshot shows the transaction's own writes;
// PutContainer, PutNetwork, PutEndpoint, PutLink, PutVolume, PutFIP, PutFIPPool,
// PutTenant take a pointer the caller gives up; DeleteContainer(id), DeleteNetwork(id), DeleteEndpoint(id),
// DeleteLink(id), DeleteVolume(key), DeleteFIP(address), DeleteFIPPool(prefix), DeleteTenant(name). An error or panic in the closure leaves
// everything as it was. Updates of several goroutines share one fsync.
//
// # Tenants
//
//	v := s.View("acme")  // Snapshot, Update and Soft as the store's, of what is acme's alone
//	v.All(), tx.All()    // everybody's: for choosing what nobody else may have
//
// A View's snapshots hold the tenant's records under their plain names, and new
// records of its transactions are the tenant's. In the store's own, names of
// tenants' records are NAME@TENANT in the indexes.
//
// # What is visible when
//
// Closures run one at a time, each against the newest state, written or not. A
// reader's Snapshot moves when the write is on disk, so nobody acts on a choice
// that a full disk takes back. A Soft whose closure saw an Update that is still
// being written becomes visible, and returns, right behind it. When a write
// fails, the callers of Update and those whose closures had built on it get
// errs.Unavailable, and everything is as before; the closures of Softs run again
// on that.
//
// # What the store refuses
//
// A container or network name, or a host port, that another holds; an address
// that another endpoint of the network has; a second floating IP of a
// container; more floating IPs than a tenant's quota; a record that would change
// its tenant; and, when the closure is done, an
// endpoint, a link or a floating IP of a container or network that is not there
// or is another tenant's. Deleting a
// container deletes its endpoints, its links, and the links that lead to it.
// Deleting what is absent succeeds.
//
// # Revisions
//
// The upper 32 bits count the times the file was opened, the lower ones the
// changes since: a revision never comes again, not even when a crash lost the
// last Soft ones.
package store
