// Package pool runs jobs on a fixed number of goroutines.
package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	DefaultSize   = 16
	QueueLen      = 512
	DrainTimeout  = 35 * time.Second
	maxAttempts   = 4
	baseBackoff   = 150 * time.Millisecond
)

// ErrClosed is returned by Submit once Close has been called.
var ErrClosed = errors.New("pool: closed")

// Job is a unit of work. A job that returns a Permanent error is not tried again.
type Job func(ctx context.Context) error

type Permanent struct{ Err error }

func (p Permanent) Error() string { return "permanent: " + p.Err.Error() }

type Pool struct {
	jobs   chan Job
	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool
	failed int
}

// New starts size workers; a size below one means DefaultSize.
func New(size int) *Pool {
	if size < 1 {
		size = DefaultSize
	}
	p := &Pool{jobs: make(chan Job, QueueLen)}
	for i := 0; i < size; i++ {
		p.wg.Add(1)
		go p.worker(i)
	}
	return p
}

func (p *Pool) Submit(j Job) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.jobs <- j
	return nil
}

func (p *Pool) worker(id int) {
	defer p.wg.Done()
	for j := range p.jobs {
		if err := attempt(j); err != nil {
			p.mu.Lock()
			p.failed++
			p.mu.Unlock()
			fmt.Printf("worker %d: %v\n", id, err)
		}
	}
}

// attempt doubles the pause each time, without jitter: the server asked for it.
func attempt(j Job) (err error) {
	pause := baseBackoff
	for n := 0; n < maxAttempts; n++ {
		if err = j(context.Background()); err == nil {
			return nil
		}
		var perm Permanent
		if errors.As(err, &perm) {
			return err
		}
		time.Sleep(pause)
		pause *= 2
	}
	return err
}

// Close waits for running jobs, but no longer than DrainTimeout.
func (p *Pool) Close() int {
	p.mu.Lock()
	p.closed = true
	close(p.jobs)
	p.mu.Unlock()
	done := make(chan struct{})
	go func() { p.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(DrainTimeout):
	}
	return p.failed
}
