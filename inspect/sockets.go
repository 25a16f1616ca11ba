package inspect

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"cr/image"
)

// Address families (socket(2)).
const (
	afUnix  = 1
	afInet  = 2
	afInet6 = 10
)

var (
	families     = map[uint32]string{afUnix: "unix", afInet: "inet", afInet6: "inet6", 16: "netlink"}
	socketTypes  = map[uint32]string{1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket"}
	socketStates = []string{image.Unconnected: "unconnected", image.Listening: "listening", image.Connected: "connected"}
)

// named is the name of a number, or the number.
func named(names map[uint32]string, n uint32) string {
	if s, ok := names[n]; ok {
		return s
	}
	return fmt.Sprint(n)
}

func (b *builder) sockets() []Socket {
	list := []Socket{}
	for _, s := range b.m.Sockets {
		r := Socket{
			ID: s.ID, Family: named(families, s.Family), Type: named(socketTypes, s.Type), State: socketStates[s.State],
			Name: address(s.Family, s.Name), Peer: address(s.Family, s.PeerName), PeerID: s.Peer,
		}
		for _, m := range s.Messages {
			r.Queued += len(m.Data)
		}
		list = append(list, r)
	}
	return list
}

// address is a struct sockaddr as people write it, abstract UNIX addresses with
// an @ in front.
func address(family uint32, b []byte) string {
	if len(b) <= 2 {
		return ""
	}
	switch {
	case family == afUnix && b[2] == 0:
		return "@" + string(b[3:])
	case family == afUnix:
		path, _, _ := strings.Cut(string(b[2:]), "\x00")
		return path
	case family == afInet && len(b) >= 8:
		return endpoint(b[4:8], b[2:])
	case family == afInet6 && len(b) >= 24:
		return endpoint(b[8:24], b[2:])
	}
	return hex.EncodeToString(b)
}

func endpoint(ip, port []byte) string {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port)).String()
}

// text is a socket in one line. Peer is how descriptors call the other end, ""
// if none leads to it.
func (s *Socket) text(peer string) string {
	line := s.Family + " " + s.Type + " " + s.State
	if s.Name != "" {
		line += " at " + clean(s.Name)
	}
	switch {
	case peer != "":
		line += " to " + clean(peer)
	case s.PeerID != 0:
		line += fmt.Sprint(" to socket ", s.PeerID)
	case s.Peer != "":
		line += " to " + clean(s.Peer)
	}
	if s.Queued > 0 {
		line += fmt.Sprintf(", %d bytes to read", s.Queued)
	}
	return line
}
