// Type of number and numbering plan of an address that a person typed (SMPP v3.4 §5.2.5, §5.2.6).

export interface AddressType {
  readonly ton: number
  readonly npi: number
}

/** Letters: alphanumeric. Nine digits and more: international, ISDN. Fewer: a short code, whose type nobody knows. */
export function addressType(address: string): AddressType {
  if (!/^\d+$/.test(address)) return { ton: 5, npi: 0 }
  return address.length > 8 ? { ton: 1, npi: 1 } : { ton: 0, npi: 1 }
}
