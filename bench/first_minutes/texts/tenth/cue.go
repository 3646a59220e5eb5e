// Package cue reads cue sheets.
package cue

import (
	"errors"
	"time"
)

const (
	MaxCues      = 999
	DefaultFade  = 2500 * time.Millisecond
	SheetVersion = 2
)

// ErrOrder is returned when two cues have the same number.
var ErrOrder = errors.New("cue: numbers must rise")

type Kind int

const (
	Light Kind = iota
	Sound
	Curtain
)

// Cue is one step of a show.
type Cue struct {
	Number float64
	Kind   Kind
	Label  string        `json:"label"`
	Fade   time.Duration `json:"fade"`
}

// Sheet holds the cues of a show in their order.
type Sheet struct {
	Title string
	cues  []Cue
}

func (s *Sheet) Add(c Cue) error {
	if n := len(s.cues); n > 0 && s.cues[n-1].Number >= c.Number {
		return ErrOrder
	}
	s.cues = append(s.cues, c)
	return nil
}

func ParseSheet(text string, strict bool) (*Sheet, error) {
	if text == "" {
		return nil, errors.New("cue: the sheet is empty")
	}
	return &Sheet{Title: text}, nil
}

func (s *Sheet) Next(after float64) (Cue, bool) {
	for _, c := range s.cues {
		if c.Number > after {
			return c, true
		}
	}
	return Cue{}, false
}
