package inspect

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"cr/image"
)

// Object is a System V message queue or a set of semaphores.
type Object struct {
	Kind     string   `json:"kind"`   // queue, semaphores
	Number   int32    `json:"number"` // msqid, semid
	Key      string   `json:"key"`    // hexadecimal; 0x0 for none
	Mode     uint32   `json:"mode"`
	UID      uint32   `json:"uid"`
	GID      uint32   `json:"gid"`
	Limit    uint64   `json:"limit,omitempty"`    // of a queue, in bytes
	Messages int      `json:"messages,omitempty"` // that wait in a queue
	Bytes    uint64   `json:"bytes,omitempty"`    // in these
	Values   []uint32 `json:"values,omitempty"`   // of semaphores

	sum uint32 // of the messages
}

func newObject(kind string, i *image.IPC) Object {
	return Object{Kind: kind, Number: i.Number, Key: fmt.Sprintf("%#x", uint32(i.Key)), Mode: i.Mode, UID: i.UID, GID: i.GID}
}

func (b *builder) objects() []Object {
	list := []Object{}
	for _, q := range b.m.Queues {
		o := newObject("queue", &q.IPC)
		o.Limit, o.Messages = q.Limit, len(q.Messages)
		for i := range q.Messages {
			m := &q.Messages[i]
			o.Bytes += uint64(len(m.Data))
			var head [12]byte
			binary.LittleEndian.PutUint64(head[:], uint64(m.Type))
			binary.LittleEndian.PutUint32(head[8:], uint32(len(m.Data)))
			o.sum = crc32.Update(crc32.Update(o.sum, crc32.IEEETable, head[:]), crc32.IEEETable, m.Data)
		}
		list = append(list, o)
	}
	for _, s := range b.m.Semaphores {
		o := newObject("semaphores", &s.IPC)
		o.Values = append([]uint32{}, s.Values...)
		list = append(list, o)
	}
	return list
}

// maxValues is how many semaphores of a set are shown.
const maxValues = 16

// what says what is in it.
func (o *Object) what() string {
	if o.Kind == "queue" {
		return fmt.Sprintf("%s, %s of %s", plural(o.Messages, "message", "messages"), Bytes(o.Bytes), Bytes(o.Limit))
	}
	var list []string
	for i, v := range o.Values {
		if i == maxValues {
			list = append(list, fmt.Sprintf("and %d more", len(o.Values)-i))
			break
		}
		list = append(list, fmt.Sprint(v))
	}
	return strings.Join(list, " ")
}

func (t *text) objects() {
	if len(t.r.Objects) == 0 {
		return
	}
	t.printf("\n%s\n", t.bold("System V message queues and semaphores"))
	for i := range t.r.Objects {
		o := &t.r.Objects[i]
		t.printf("  %-10s %8d key %-10s %4o %d:%d  %s\n", o.Kind, o.Number, o.Key, o.Mode, o.UID, o.GID, o.what())
	}
}

func objectNames(list []Object) []keyed {
	var out []keyed
	for i := range list {
		o := &list[i]
		value := fmt.Sprintf("key %s %o %d:%d %s", o.Key, o.Mode, o.UID, o.GID, o.what())
		if o.Kind == "queue" {
			value += fmt.Sprintf(" (%08x)", o.sum)
		} else {
			value = fmt.Sprintf("key %s %o %d:%d %v", o.Key, o.Mode, o.UID, o.GID, o.Values)
		}
		out = append(out, keyed{fmt.Sprint(o.Kind, " ", o.Number), value})
	}
	return out
}
