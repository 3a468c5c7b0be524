"""Accounts on lease: made just in time, for minutes, and taken back for certain.

Owns: Backend (a connected system and our administrator's secret for it), Role (what may be lent from it; it
writes its own operation type `credential:<role>`), Lease (one loan), and the engines that speak to such systems.
Does not own: who may ask for a lease (clients, operations), the yes and its grant (ciba, oauth).

models.py       the tables; a lease holds everything that taking it back needs
states.py       a lease's states and the only ways between them (pure)
engines/        one file per kind of system, behind one small protocol
"""
