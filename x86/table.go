package x86

import "cr/regset"

// Names of the sets.
const (
	namePRSTATUS = "NT_PRSTATUS"
	namePRFPREG  = "NT_PRFPREG"
	namePRXFPREG = "NT_PRXFPREG"
	nameXSTATE   = "NT_X86_XSTATE"
	nameTLS      = "NT_386_TLS"
	nameIOPERM   = "NT_386_IOPERM"
	nameSHSTK    = "NT_X86_SHSTK"
	nameDebugreg = "debugreg"
	nameLDT      = "LDT"
	namePermits  = "XCOMP_PERM"
	nameXLayout  = "XLAYOUT"
)

// row is a Desc of tasks of one ABI, or of both if the ABI is zero.
type row struct {
	only regset.ABI
	desc regset.Desc
}

// table is in the order in which sets are restored. The kernel looks up the
// bases of a 32-bit task's FS and GS in its descriptors when it takes PRSTATUS
// (putreg32), and the sets of ByCall need the registers for their calls: so
// PRSTATUS is last. NT_X86_XSTATE holds all that PRFPREG and PRXFPREG do.
var table = []row{
	{regset.X86_64, regset.Desc{
		Note: regset.NoteX86Permits, Name: namePermits, Feature: XSAVE, Access: regset.ByCall,
		Regs: permitsRegs, Used: permitsUsed, Check: permitsCheck, Fit: permitsFit,
	}},
	{regset.ABI{}, regset.Desc{
		Note: regset.NoteX86LDT, Name: nameLDT, Feature: LDT, Access: regset.ByCall,
		Regs: ldtRegs, Used: ldtUsed, Check: ldtCheck, Fit: ldtFit,
	}},
	{regset.I386, regset.Desc{
		Note: regset.I386_TLS, Name: nameTLS, Feature: TLS, InCore: true,
		Regs: tlsRegs, Used: tlsUsed, Check: tlsCheck, Fit: tlsFit,
	}},
	{regset.ABI{}, regset.Desc{
		Note: regset.PRFPREG, Name: namePRFPREG, Feature: FPU, InCore: true,
		Regs: fpRegs, Used: fpUsed, Check: fpCheck, Fit: fpFit,
	}},
	{regset.I386, regset.Desc{
		Note: regset.PRXFPREG, Name: namePRXFPREG, Feature: FXSR, InCore: true,
		Regs: fxRegs, Used: fxUsed, Check: xfpCheck, Fit: fxFit,
	}},
	{regset.ABI{}, regset.Desc{
		Note: regset.NoteX86XLayout, Name: nameXLayout, Feature: XSAVE, Access: regset.ByCall,
		Regs: layoutRegs, Used: layoutUsed, Check: layoutCheck, Fit: layoutFit,
	}},
	{regset.ABI{}, regset.Desc{
		Note: regset.X86_XSTATE, Name: nameXSTATE, Feature: XSAVE, InCore: true,
		Regs: xstateRegs, Used: xstateUsed, Check: xstateCheck, Fit: xstateFit,
	}},
	{regset.X86_64, regset.Desc{
		Note: regset.X86_SHSTK, Name: nameSHSTK, Feature: SHSTK, InCore: true,
		Regs: shstkRegs, Used: shstkUsed, Check: shstkCheck, Fit: shstkFit,
	}},
	{regset.ABI{}, regset.Desc{
		Note: regset.I386_IOPERM, Name: nameIOPERM, Feature: IOPERM, InCore: true,
		Regs: iopermRegs, Used: iopermUsed, Check: iopermCheck, Fit: iopermFit, Unsaved: iopermUnsaved,
	}},
	{regset.ABI{}, regset.Desc{
		Note: regset.NoteDebugreg, Name: nameDebugreg, Feature: DEBUG, Access: regset.Debugreg,
		Regs: debugRegs, Used: debugUsed, Check: debugCheck, Fit: debugFit,
	}},
	{regset.ABI{}, regset.Desc{
		Note: regset.PRSTATUS, Name: namePRSTATUS, InCore: true,
		Regs: gprRegs, Used: gprUsed, Check: gprCheck, Fit: gprFit,
	}},
}

var (
	tableI386   = tableOf(regset.I386)
	tableX86_64 = tableOf(regset.X86_64)
)

func tableOf(abi regset.ABI) []regset.Desc {
	var t []regset.Desc
	for _, r := range table {
		if r.only == abi || r.only == (regset.ABI{}) {
			t = append(t, r.desc)
		}
	}
	return t
}

// Table is nil for an ABI of another architecture.
func (arch) Table(abi regset.ABI) []regset.Desc {
	switch abi {
	case regset.I386:
		return tableI386
	case regset.X86_64:
		return tableX86_64
	}
	return nil
}
