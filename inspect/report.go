// Package inspect tells what an image holds, for people and for programs. It
// reads any image on any host.
package inspect

import "time"

// Version is the version of the shape of a Report as JSON, which
// docs/info-json.md describes. It changes when a field is taken away or gets
// another meaning, not when one is added.
const Version = 1

// Report is what `cr info` shows.
type Report struct {
	Version      int         `json:"version"`
	Image        Image       `json:"image"`
	Processes    []Process   `json:"processes"` // parents before their children
	SharedMemory []Shared    `json:"shared_memory"`
	Pipes        []Pipe      `json:"pipes"`
	Sockets      []Socket    `json:"sockets"`
	Objects      []Object    `json:"system_v"`
	Namespaces   []Namespace `json:"namespaces"`

	hex *dump
}

// Image is the image as a whole.
type Image struct {
	ID        uint64    `json:"id"`
	ABI       string    `json:"abi"`
	Release   string    `json:"release"`
	Hostname  string    `json:"hostname"`
	Creator   string    `json:"creator"`
	Time      time.Time `json:"time"`
	PageSize  uint32    `json:"page_size"`
	Features  []string  `json:"features"`
	Root      uint32    `json:"root"` // pid
	Processes int       `json:"processes"`
	Tasks     int       `json:"tasks"`
	Size      int64     `json:"size"`  // of the stream, in bytes
	Saved     uint64    `json:"saved"` // contents of memory in it, in bytes
}

// Process is a process of the image.
type Process struct {
	PID         uint32       `json:"pid"`
	PPID        uint32       `json:"ppid"`
	PGID        uint32       `json:"pgid"`
	SID         uint32       `json:"sid"`
	State       string       `json:"state"`
	ExitStatus  uint32       `json:"exit_status,omitempty"` // as wait(2) gives it
	Comm        string       `json:"comm"`
	Exe         string       `json:"exe,omitempty"`
	Cwd         string       `json:"cwd,omitempty"`
	Root        string       `json:"root,omitempty"`
	UID         uint32       `json:"uid"`
	GID         uint32       `json:"gid"`
	Tasks       []Task       `json:"tasks"`            // the leader first
	MM          uint32       `json:"mm"`               // processes with the same number share memory
	Memory      []Memory     `json:"memory"`           // by kind
	Shared      uint64       `json:"shared,omitempty"` // of it in bytes: pages that are in the image once, as another process has them too
	Maps        []Map        `json:"maps"`             // only if asked for
	Files       uint32       `json:"files"`            // processes with the same number share descriptors
	Descriptors []Descriptor `json:"descriptors"`      // lowest first
}

// Task is a task of a process.
type Task struct {
	TID      uint32   `json:"tid"`
	Comm     string   `json:"comm"`
	ABI      string   `json:"abi"`
	Features []string `json:"features"` // that it has used
	PC       string   `json:"pc"`       // hexadecimal
	SP       string   `json:"sp"`
	Sets     []Set    `json:"sets"` // only if asked for

	// Of a thread that has them for itself.
	Cwd         string       `json:"cwd,omitempty"`
	Root        string       `json:"root,omitempty"`
	Descriptors []Descriptor `json:"descriptors,omitempty"`
}

// Set is a register set of a task.
type Set struct {
	Note  uint32     `json:"note"` // type of the ELF note
	Name  string     `json:"name"`
	Bytes int        `json:"bytes"`
	Regs  []Register `json:"regs"` // empty where the set is not known
}

// Register is a register: its value in hexadecimal, most significant digit
// first.
type Register struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Memory sums up the mappings of one kind. Sizes are in bytes.
type Memory struct {
	Kind     string `json:"kind"`
	Mappings int    `json:"mappings"`
	Mapped   uint64 `json:"mapped"`
	Saved    uint64 `json:"saved"` // in the image
}

// Map is a mapping.
type Map struct {
	Start  string `json:"start"` // hexadecimal
	End    string `json:"end"`
	Perms  string `json:"perms"` // as /proc/PID/maps has it
	Kind   string `json:"kind"`
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
	Saved  uint64 `json:"saved"`
	Flags  string `json:"flags,omitempty"` // as VmFlags of /proc/PID/smaps has them
	Name   string `json:"name,omitempty"`

	start  uint64
	source source   // of what is not saved
	held   []extent // what is saved, only if asked for
}

// Descriptor is an open descriptor.
type Descriptor struct {
	FD      uint32 `json:"fd"`
	File    uint32 `json:"file"` // descriptors with the same number share an open file
	Kind    string `json:"kind"`
	Access  string `json:"access"` // r, w, rw
	Path    string `json:"path"`
	Pos     int64  `json:"pos"`
	CloExec bool   `json:"cloexec"`
	Object  uint32 `json:"object,omitempty"` // pipe, socket, or shared memory of a memfd
}

// Shared is memory that address spaces share. Sizes are in bytes.
type Shared struct {
	ID    uint32 `json:"id"`
	Size  uint64 `json:"size"`
	Saved uint64 `json:"saved"`
	MemFD string `json:"memfd,omitempty"` // its name
	Path  string `json:"path,omitempty"`  // that a deleted file had

	Segment *int32 `json:"segment,omitempty"` // number of a System V segment
}

// Pipe is a pipe. Sizes are in bytes.
type Pipe struct {
	ID       uint32 `json:"id"`
	Capacity uint32 `json:"capacity"`
	Filled   int    `json:"filled"`
	External bool   `json:"external"` // an end of it is outside of the image
}

// Socket is a socket. Addresses are as people write them, empty for none.
type Socket struct {
	ID     uint32 `json:"id"`
	Family string `json:"family"`
	Type   string `json:"type"`
	State  string `json:"state"`
	Name   string `json:"name,omitempty"`
	Peer   string `json:"peer,omitempty"`
	PeerID uint32 `json:"peer_id,omitempty"` // the other end, if it is in the image
	Queued int    `json:"queued"`            // bytes that wait to be read
}
