package inspect

import (
	"fmt"
	"strings"

	"cr/image"
)

// Namespace is a namespace that the processes have for themselves.
type Namespace struct {
	Kind       string   `json:"kind"`                  // uts, ... as in /proc/PID/ns
	Hostname   string   `json:"hostname,omitempty"`    // of a UTS namespace
	Domainname string   `json:"domainname,omitempty"`  // the same
	MQueues    []string `json:"mqueues,omitempty"`     // POSIX message queues of an IPC namespace
	Mounts     []string `json:"mounts,omitempty"`      // of a mount namespace
	LoopbackUp *bool    `json:"loopback_up,omitempty"` // of a network namespace
	UIDs       string   `json:"uids,omitempty"`        // map of a user namespace: inside, outside, count of each range
	GIDs       string   `json:"gids,omitempty"`

	name string // of the kind, for people
}

func (b *builder) namespaces() []Namespace {
	list := []Namespace{}
	own := b.m.OwnNamespaces()
	for _, k := range image.NamespaceKinds {
		if !own.Has(k.Flag) {
			continue
		}
		n := Namespace{Kind: k.File, name: k.Name}
		if k.Flag == image.NewUTS {
			n.Hostname, n.Domainname = own.Hostname, own.Domainname
		}
		if k.Flag == image.NewIPC {
			for _, q := range own.MQueues {
				n.MQueues = append(n.MQueues, "/"+q.Name)
			}
		}
		if k.Flag == image.NewUser {
			n.UIDs, n.GIDs = mapText(own.UIDs), mapText(own.GIDs)
		}
		if k.Flag == image.NewMount {
			for _, m := range own.Mounts {
				n.Mounts = append(n.Mounts, m.Type+" at "+m.Target)
			}
		}
		if k.Flag == image.NewNet {
			up := own.LoopbackUp
			n.LoopbackUp = &up
		}
		list = append(list, n)
	}
	return list
}

// mapText is a map of ids, as /proc/PID/uid_map has it.
func mapText(list []image.IDRange) string {
	var all []string
	for _, r := range list {
		all = append(all, fmt.Sprint(r.Inside, " ", r.Outside, " ", r.Count))
	}
	return strings.Join(all, ", ")
}

// what says what is set in it, "" for nothing.
func (n *Namespace) what() string {
	if n.UIDs != "" {
		return "users " + n.UIDs + ", groups " + n.GIDs
	}
	if len(n.Mounts) > 0 {
		return clean(strings.Join(n.Mounts, ", "))
	}
	if n.LoopbackUp != nil {
		if *n.LoopbackUp {
			return "lo is up"
		}
		return "lo is down"
	}
	if len(n.MQueues) > 0 {
		return "message queues " + clean(strings.Join(n.MQueues, " "))
	}
	if n.Kind != "uts" {
		return ""
	}
	text := "host name " + clean(n.Hostname)
	if n.Domainname != "" && n.Domainname != "(none)" { // UTS_DOMAINNAME: none was set
		text += ", domain name " + clean(n.Domainname)
	}
	return text
}

// ownNamespaces is a line about them, "" for none.
func (r *Report) ownNamespaces() string {
	var list []string
	for i := range r.Namespaces {
		one := r.Namespaces[i].name
		if what := r.Namespaces[i].what(); what != "" {
			one += " (" + what + ")"
		}
		list = append(list, one)
	}
	return strings.Join(list, ", ")
}

func (t *text) namespaces() {
	if own := t.r.ownNamespaces(); own != "" {
		t.printf("namespaces of its own: %s\n", own)
	}
}

func namespaceNames(list []Namespace) []keyed {
	var out []keyed
	for i := range list {
		n := &list[i]
		out = append(out, keyed{n.Kind, strings.TrimSpace(fmt.Sprint("own ", n.what()))})
	}
	return out
}
