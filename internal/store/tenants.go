package store

import (
	"fmt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// belongs is a record that is somebody's.
type belongs interface {
	model.Container | model.Network | model.Volume | model.FloatingIP | model.SecurityGroup
}

// tenantOf tells whose a record is.
func tenantOf[T belongs](r *T) string {
	switch r := any(r).(type) {
	case *model.Container:
		return r.Tenant
	case *model.Network:
		return r.Tenant
	case *model.Volume:
		return r.Tenant
	case *model.FloatingIP:
		return r.Tenant
	case *model.SecurityGroup:
		return r.Tenant
	}
	return ""
}

// owned makes a new record that of the transaction's tenant. A stored one
// changes hands never: old is what is stored under its key, or nil.
func owned[T belongs](tx *Tx, tenant *string, old *T) error {
	if old != nil {
		if tenantOf(old) != *tenant || !tx.sees(*tenant) {
			return errs.New(errs.Conflict, "it is not available")
		}
		return nil
	}
	if *tenant == "" {
		*tenant = tx.tenant
	}
	if *tenant == "" {
		return nil
	}
	if t := tx.snap.Tenants[*tenant]; t == nil || t.Removing {
		return errs.New(errs.Forbidden, "tenant %s is being removed: it gets nothing new", *tenant)
	}
	if !tx.sees(*tenant) {
		return errs.New(errs.Conflict, "it is not available")
	}
	return nil
}

// sees tells whether the transaction may touch what belongs to a tenant.
func (tx *Tx) sees(tenant string) bool { return tx.tenant == "" || tx.tenant == tenant }

// PutTenant stores t, which the caller gives up.
func (tx *Tx) PutTenant(t *model.Tenant) error {
	if t.Name == "" {
		return errs.New(errs.Invalid, "a tenant has no name")
	}
	tx.touch(kindTenant, t.Name)
	mine(tx, ownTenants, &tx.snap.Tenants)[t.Name] = t
	return nil
}

// DeleteTenant deletes a tenant. What belongs to it must be gone by the end of
// the transaction.
func (tx *Tx) DeleteTenant(name string) {
	if _, ok := tx.snap.Tenants[name]; !ok {
		return
	}
	tx.touch(kindTenant, name)
	delete(mine(tx, ownTenants, &tx.snap.Tenants), name)
}

// checkTenant: a record's tenant is there.
func checkTenant(s *model.Snapshot, tenant, what, id string) error {
	if tenant != "" && s.Tenants[tenant] == nil {
		return fmt.Errorf("%s %s belongs to tenant %s, which does not exist", what, id, tenant)
	}
	return nil
}

// checkTenantGone: a deleted tenant has left nothing behind.
func checkTenantGone(s *model.Snapshot, name string) error {
	if s.Tenants[name] != nil {
		return nil
	}
	for what, left := range Of(s, name) {
		if left > 0 {
			return errs.New(errs.Conflict, "tenant %s still has %d %ss", name, left, what)
		}
	}
	return nil
}

// Of counts what belongs to a tenant, by kind.
func Of(s *model.Snapshot, tenant string) map[string]int {
	return map[string]int{
		"container":      count(s.Containers, tenant),
		"network":        count(s.Networks, tenant),
		"volume":         count(s.Volumes, tenant),
		"floating IP":    count(s.FIPs, tenant),
		"security group": count(s.SecurityGroups, tenant),
	}
}

func count[T belongs](m map[string]*T, tenant string) (n int) {
	for _, r := range m {
		if tenantOf(r) == tenant {
			n++
		}
	}
	return n
}

// FIPsLeft refuses whose transaction it is so many further floating IPs, if that
// is more than they may have.
func (tx *Tx) FIPsLeft(further int) error { return underQuota(tx.snap, tx.tenant, further) }

// underQuota refuses a tenant more floating IPs than it may have.
func underQuota(s *model.Snapshot, tenant string, further int) error {
	t := s.Tenants[tenant]
	if t == nil || t.FIPQuota == model.Unlimited {
		return nil
	}
	left := max(0, t.FIPQuota-count(s.FIPs, tenant))
	switch {
	case further <= left:
		return nil
	case left > 0:
		return errs.New(errs.Forbidden, "the quota of %d floating IPs leaves %d: allocate fewer, release some, or ask the administrator for more (jackstay tenant update --fip-quota N %s)",
			t.FIPQuota, left, tenant)
	}
	return errs.New(errs.Forbidden, "the quota of %d floating IPs is reached: release some, or ask the administrator for more (jackstay tenant update --fip-quota N %s)",
		t.FIPQuota, tenant)
}
