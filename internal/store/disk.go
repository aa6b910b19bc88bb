package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// kind is a kind of record: one bucket each.
type kind uint8

const (
	kindContainer kind = iota
	kindNetwork
	kindEndpoint
	kindLink
	kindVolume
	kindFIP
	kindFIPPool
	kindGroup
	kindTenant
	kindCount
)

// key names one record.
type key struct {
	kind kind
	id   string
}

func (k kind) bucket() []byte {
	return []byte([kindCount]string{"containers", "networks", "endpoints", "links", "volumes", "fips", "fippools", "securitygroups", "tenants"}[k])
}

// The meta bucket: the layout of this file, and the last revision written.
var (
	metaBucket  = []byte("meta")
	revisionKey = []byte("revision") // 8 bytes, big endian
	layoutKey   = []byte("layout")   // decimal
)

const (
	layout    = "2"
	layout1   = "1"         // has ports as JSON's objects: read as well
	lockWait  = time.Second // for another daemon's lock on the file
	epochBits = 32          // a revision's upper bits count the openings
)

// openDB opens or makes the file, and reads everything in it.
func openDB(path string) (db *bbolt.DB, snap *model.Snapshot, err error) {
	defer func() {
		// bbolt panics on pages that make no sense.
		if p := recover(); p != nil {
			err = fmt.Errorf("state file %s is damaged: %v; put a backup in its place or move it away", path, p)
		}
		if err != nil && db != nil {
			_ = db.Close()
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, nil, errs.New(errs.Unavailable, "make the directory of the state file: %w", err)
	}
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, nil, errs.New(errs.Conflict, "state file %s is in use by another daemon: stop it, or give this one its own --root", path)
	}
	if err != nil {
		return nil, nil, errs.New(errs.Unavailable, "open state file %s: %w", path, err)
	}
	snap = emptySnapshot()
	if err := db.Update(func(btx *bbolt.Tx) error { return load(btx, snap) }); err != nil {
		return db, nil, errs.New(errs.Unavailable, "read state file %s: %w", path, err)
	}
	Rebuild(snap)
	return db, snap, nil
}

func emptySnapshot() *model.Snapshot {
	return &model.Snapshot{
		Containers:     map[string]*model.Container{},
		Networks:       map[string]*model.Network{},
		Endpoints:      map[string]*model.Endpoint{},
		Links:          map[string]*model.Link{},
		Volumes:        map[string]*model.Volume{},
		FIPs:           map[string]*model.FloatingIP{},
		FIPPools:       map[string]*model.FIPPool{},
		SecurityGroups: map[string]*model.SecurityGroup{},
		Tenants:        map[string]*model.Tenant{},
	}
}

// load reads every record, and writes the revision that this opening starts
// from: above any that an earlier one can have given out.
func load(btx *bbolt.Tx, snap *model.Snapshot) error {
	meta, err := btx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	if have := meta.Get(layoutKey); have != nil && string(have) != layout && string(have) != layout1 {
		return fmt.Errorf("its layout is %q and this version knows %s only: it was written by a newer one", have, layout)
	}
	if have := meta.Get(revisionKey); len(have) == 8 {
		snap.Revision = binary.BigEndian.Uint64(have)
	}
	snap.Revision = (snap.Revision>>epochBits + 1) << epochBits
	if err := errors.Join(meta.Put(layoutKey, []byte(layout)), putRevision(meta, snap.Revision)); err != nil {
		return err
	}
	return errors.Join(
		loadKind(btx, kindContainer, snap.Containers, decodeContainer),
		loadKind(btx, kindNetwork, snap.Networks, decode),
		loadKind(btx, kindEndpoint, snap.Endpoints, decode),
		loadKind(btx, kindLink, snap.Links, decode),
		loadKind(btx, kindVolume, snap.Volumes, decode),
		loadKind(btx, kindFIP, snap.FIPs, decode),
		loadKind(btx, kindFIPPool, snap.FIPPools, decode),
		loadKind(btx, kindGroup, snap.SecurityGroups, decode),
		loadKind(btx, kindTenant, snap.Tenants, decode),
	)
}

func decode[T any](data []byte) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(data, v)
}

func loadKind[T any](btx *bbolt.Tx, k kind, into map[string]*T, decode func([]byte) (*T, error)) error {
	bucket, err := btx.CreateBucketIfNotExists(k.bucket())
	if err != nil {
		return err
	}
	return bucket.ForEach(func(id, data []byte) error {
		v, err := decode(data)
		if err != nil {
			return fmt.Errorf("record %s of %s: %w", id, k.bucket(), err)
		}
		into[string(id)] = v
		return nil
	})
}

func putRevision(meta *bbolt.Bucket, revision uint64) error {
	return meta.Put(revisionKey, binary.BigEndian.AppendUint64(nil, revision))
}

// writeDB makes the records named by keys on disk what they are in snap, and
// returns when they are safe there.
func writeDB(db *bbolt.DB, snap *model.Snapshot, keys map[key]struct{}) error {
	return db.Update(func(btx *bbolt.Tx) error {
		for k := range keys {
			if err := writeRecord(btx.Bucket(k.kind.bucket()), snap, k); err != nil {
				return err
			}
		}
		return putRevision(btx.Bucket(metaBucket), snap.Revision)
	})
}

func writeRecord(bucket *bbolt.Bucket, snap *model.Snapshot, k key) error {
	v := record(snap, k)
	if v == nil {
		return bucket.Delete([]byte(k.id))
	}
	data, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode record %s of %s: %w", k.id, k.kind.bucket(), err)
	}
	return bucket.Put([]byte(k.id), data)
}

func encode(v any) ([]byte, error) {
	if c, ok := v.(*model.Container); ok {
		return encodeContainer(c)
	}
	return json.Marshal(v)
}

// record gives what k names in snap, or nil.
func record(snap *model.Snapshot, k key) any {
	switch k.kind {
	case kindContainer:
		return orNil(snap.Containers, k.id)
	case kindNetwork:
		return orNil(snap.Networks, k.id)
	case kindEndpoint:
		return orNil(snap.Endpoints, k.id)
	case kindLink:
		return orNil(snap.Links, k.id)
	case kindFIP:
		return orNil(snap.FIPs, k.id)
	case kindFIPPool:
		return orNil(snap.FIPPools, k.id)
	case kindGroup:
		return orNil(snap.SecurityGroups, k.id)
	case kindTenant:
		return orNil(snap.Tenants, k.id)
	default:
		return orNil(snap.Volumes, k.id)
	}
}

func orNil[T any](m map[string]*T, id string) any {
	if v, ok := m[id]; ok {
		return v
	}
	return nil
}
