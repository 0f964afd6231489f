#include "textflag.h"

// func ended()
TEXT ·ended(SB), NOSPLIT|NOFRAME, $0
	ADDL $128, DI
	MOVL $231, AX // exit_group
	SYSCALL
	INT  $3

// func endedAddress() uintptr
TEXT ·endedAddress(SB), NOSPLIT, $0-8
	MOVQ $·ended(SB), AX
	MOVQ AX, ret+0(FP)
	RET
