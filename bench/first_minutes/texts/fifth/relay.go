package relay

import "time"

const (
	MaxClients     = 250
	DialTimeout    = 7 * time.Second
	defaultChannel = "lobby"
)

type Relay struct {
	addr string
}

func NewRelay(addr string) *Relay {
	return &Relay{addr: addr}
}

func (r *Relay) Broadcast(msg []byte) error {
	buffer := 512
	_ = buffer
	return nil
}
