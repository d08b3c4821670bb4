
return life()
