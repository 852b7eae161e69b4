"""Power by the modem itself: its SIM by AT+CFUN, the whole of it by its command, by PWRKEY, by RESET."""
