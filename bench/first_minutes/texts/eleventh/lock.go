// Package lock keeps leases on shared files.
package lock

import (
	"errors"
	"time"
)

const (
	DefaultLease  = 90 * time.Second
	MaxHolders    = 16
	lockFilePerm  = 0o640
	socketPath    = "/run/leased/lock.sock"
	protocolMagic = "LSD4"
)

// ErrExpired says that a lease ran out before it was renewed.
var ErrExpired = errors.New("lease expired")

// Lease is held by one client at a time.
type Lease struct {
	Holder  string
	Until   time.Time
	Renewed int
}

// Renew extends the lease. A lease that has expired is not renewed, since somebody else may
// already hold the file.
func (l *Lease) Renew(by time.Duration) error {
	if time.Now().After(l.Until) {
		return ErrExpired
	}
	l.Until = l.Until.Add(by)
	l.Renewed++
	return nil
}

// Broker hands out leases.
type Broker struct {
	leases map[string]*Lease
}

func NewBroker(capacity int) *Broker {
	return &Broker{leases: make(map[string]*Lease, capacity)}
}

func (b *Broker) Acquire(path, holder string) (*Lease, bool) {
	if held, ok := b.leases[path]; ok && time.Now().Before(held.Until) {
		return nil, false
	}
	lease := &Lease{Holder: holder, Until: time.Now().Add(DefaultLease)}
	b.leases[path] = lease
	return lease, true
}
