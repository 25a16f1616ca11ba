// Package convert judges whether a machine can take an image, changes images so
// that it can, and says what programs shall be told of a CPU so that they stay
// movable. It makes no system call: images of any machine can be judged on any
// other.
package convert
