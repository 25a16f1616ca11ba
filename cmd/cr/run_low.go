package main

import (
	"github.com/spf13/pflag"

	"cr/kernel"
)

// lowOption is the option of `cr run` that makes 32-bit programs fit for kernels
// of either word size.
type lowOption struct{ wanted bool }

func (o *lowOption) declare(flags *pflag.FlagSet) {
	flags.BoolVar(&o.wanted, "3gb", false, "keep 32-bit programs below 3 GiB, so that their images fit on 32-bit kernels")
}

// byHand reports whether the kernel side takes part in it.
func (o *lowOption) byHand() bool { return o.wanted && kernel.LowByHand() }

// args is the same option for another process of cr run.
func (o *lowOption) args() []string {
	if o.wanted {
		return []string{"--3gb"}
	}
	return nil
}

// apply makes the program that this thread will execute lie low.
func (o *lowOption) apply() error {
	if !o.wanted {
		return nil
	}
	return kernel.LieLow()
}
