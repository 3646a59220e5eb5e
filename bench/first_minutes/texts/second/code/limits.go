package limits

import "time"

const (
	// MaxBerths is how many ships the harbour holds.
	MaxBerths    = 42
	QueueTimeout = 90 * time.Second
	defaultZone  = "inner"
)

var ErrFull = errors.New("harbour full")

// Ship is a ship that wants a berth.
type Ship struct {
	Name   string
	Draft  float64 `json:"draft_m"`
	Lights []int
}

type Berther interface {
	Berth(s Ship) (int, error)
}

// Assign finds a berth.
func Assign(s Ship, free []int) (int, error) {
	if len(free) == 0 {
		return 0, ErrFull
	}
	return free[0], nil
}

func (s *Ship) deepest() bool { return s.Draft > 11.5 }
