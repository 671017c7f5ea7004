// Which time zones a number may be in: those of its country, fewer where its first digits tell more. Names are the IANA's,
// and of zones whose clocks have gone alike for years one stands for all. Pure, a table; what o'clock it is there, others ask.

import { countryOf } from './countries.js'
import { PrefixMap } from './prefixes.js'

/** `ISO zone zone`; the first is where most people live. */
const COUNTRIES = `
AC Atlantic/St_Helena;AD Europe/Andorra;AE Asia/Dubai;AF Asia/Kabul;AG America/Antigua;AI America/Anguilla;AL Europe/Tirane
AM Asia/Yerevan;AO Africa/Luanda;AQ Antarctica/McMurdo Antarctica/Casey Antarctica/Davis Antarctica/Mawson Antarctica/Palmer
AR America/Argentina/Buenos_Aires;AS Pacific/Pago_Pago;AT Europe/Vienna
AU Australia/Sydney Australia/Brisbane Australia/Adelaide Australia/Darwin Australia/Perth Australia/Eucla Australia/Lord_Howe
AW America/Aruba;AX Europe/Mariehamn;AZ Asia/Baku;BA Europe/Sarajevo;BB America/Barbados;BD Asia/Dhaka;BE Europe/Brussels
BF Africa/Ouagadougou;BG Europe/Sofia;BH Asia/Bahrain;BI Africa/Bujumbura;BJ Africa/Porto-Novo;BM Atlantic/Bermuda
BN Asia/Brunei;BO America/La_Paz;BQ America/Kralendijk
BR America/Sao_Paulo America/Manaus America/Rio_Branco America/Noronha
BS America/Nassau;BT Asia/Thimphu;BW Africa/Gaborone;BY Europe/Minsk;BZ America/Belize
CA America/Toronto America/Vancouver America/Edmonton America/Winnipeg America/Regina America/Halifax America/St_Johns \
America/Whitehorse America/Blanc-Sablon
CC Indian/Cocos;CD Africa/Kinshasa Africa/Lubumbashi;CF Africa/Bangui;CG Africa/Brazzaville;CH Europe/Zurich
CI Africa/Abidjan;CK Pacific/Rarotonga;CL America/Santiago America/Punta_Arenas Pacific/Easter;CM Africa/Douala
CN Asia/Shanghai;CO America/Bogota;CR America/Costa_Rica;CU America/Havana;CV Atlantic/Cape_Verde;CW America/Curacao
CX Indian/Christmas;CY Asia/Nicosia;CZ Europe/Prague;DE Europe/Berlin;DJ Africa/Djibouti;DK Europe/Copenhagen
DM America/Dominica;DO America/Santo_Domingo;DZ Africa/Algiers;EC America/Guayaquil Pacific/Galapagos;EE Europe/Tallinn
EG Africa/Cairo;EH Africa/El_Aaiun;ER Africa/Asmara;ES Europe/Madrid Atlantic/Canary;ET Africa/Addis_Ababa
FI Europe/Helsinki;FJ Pacific/Fiji;FK Atlantic/Stanley;FM Pacific/Pohnpei Pacific/Chuuk;FO Atlantic/Faroe;FR Europe/Paris
GA Africa/Libreville;GB Europe/London;GD America/Grenada;GE Asia/Tbilisi;GF America/Cayenne;GG Europe/Guernsey
GH Africa/Accra;GI Europe/Gibraltar;GL America/Nuuk America/Thule;GM Africa/Banjul;GN Africa/Conakry;GP America/Guadeloupe
GQ Africa/Malabo;GR Europe/Athens;GS Atlantic/South_Georgia;GT America/Guatemala;GU Pacific/Guam;GW Africa/Bissau
GY America/Guyana;HK Asia/Hong_Kong;HN America/Tegucigalpa;HR Europe/Zagreb;HT America/Port-au-Prince;HU Europe/Budapest
ID Asia/Jakarta Asia/Makassar Asia/Jayapura;IE Europe/Dublin;IL Asia/Jerusalem;IM Europe/Isle_of_Man;IN Asia/Kolkata
IO Indian/Chagos;IQ Asia/Baghdad;IR Asia/Tehran;IS Atlantic/Reykjavik;IT Europe/Rome;JE Europe/Jersey;JM America/Jamaica
JO Asia/Amman;JP Asia/Tokyo;KE Africa/Nairobi;KG Asia/Bishkek;KH Asia/Phnom_Penh
KI Pacific/Tarawa Pacific/Kanton Pacific/Kiritimati;KM Indian/Comoro;KN America/St_Kitts;KP Asia/Pyongyang;KR Asia/Seoul
KW Asia/Kuwait;KY America/Cayman;KZ Asia/Almaty;LA Asia/Vientiane;LB Asia/Beirut;LC America/St_Lucia;LI Europe/Vaduz
LK Asia/Colombo;LR Africa/Monrovia;LS Africa/Maseru;LT Europe/Vilnius;LU Europe/Luxembourg;LV Europe/Riga;LY Africa/Tripoli
MA Africa/Casablanca;MC Europe/Monaco;MD Europe/Chisinau;ME Europe/Podgorica;MG Indian/Antananarivo;MH Pacific/Majuro
MK Europe/Skopje;ML Africa/Bamako;MM Asia/Yangon;MN Asia/Ulaanbaatar Asia/Hovd;MO Asia/Macau;MP Pacific/Saipan
MQ America/Martinique;MR Africa/Nouakchott;MS America/Montserrat;MT Europe/Malta;MU Indian/Mauritius;MV Indian/Maldives
MW Africa/Blantyre
MX America/Mexico_City America/Tijuana America/Hermosillo America/Ciudad_Juarez America/Matamoros America/Cancun
MY Asia/Kuala_Lumpur;MZ Africa/Maputo;NA Africa/Windhoek;NC Pacific/Noumea;NE Africa/Niamey;NF Pacific/Norfolk
NG Africa/Lagos;NI America/Managua;NL Europe/Amsterdam;NO Europe/Oslo;NP Asia/Kathmandu;NR Pacific/Nauru;NU Pacific/Niue
NZ Pacific/Auckland Pacific/Chatham;OM Asia/Muscat;PA America/Panama;PE America/Lima
PF Pacific/Tahiti Pacific/Marquesas Pacific/Gambier;PG Pacific/Port_Moresby Pacific/Bougainville;PH Asia/Manila
PK Asia/Karachi;PL Europe/Warsaw;PM America/Miquelon;PR America/Puerto_Rico;PS Asia/Gaza;PT Europe/Lisbon Atlantic/Azores
PW Pacific/Palau;PY America/Asuncion;QA Asia/Qatar;RE Indian/Reunion;RO Europe/Bucharest;RS Europe/Belgrade
RU Europe/Moscow Europe/Kaliningrad Europe/Samara Asia/Yekaterinburg Asia/Omsk Asia/Novosibirsk Asia/Irkutsk Asia/Chita \
Asia/Vladivostok Asia/Magadan Asia/Kamchatka
RW Africa/Kigali;SA Asia/Riyadh;SB Pacific/Guadalcanal;SC Indian/Mahe;SD Africa/Khartoum;SE Europe/Stockholm
SG Asia/Singapore;SH Atlantic/St_Helena;SI Europe/Ljubljana;SJ Arctic/Longyearbyen;SK Europe/Bratislava;SL Africa/Freetown
SM Europe/San_Marino;SN Africa/Dakar;SO Africa/Mogadishu;SR America/Paramaribo;SS Africa/Juba;ST Africa/Sao_Tome
SV America/El_Salvador;SX America/Lower_Princes;SY Asia/Damascus;SZ Africa/Mbabane;TA Atlantic/St_Helena
TC America/Grand_Turk;TD Africa/Ndjamena;TG Africa/Lome;TH Asia/Bangkok;TJ Asia/Dushanbe;TK Pacific/Fakaofo;TL Asia/Dili
TM Asia/Ashgabat;TN Africa/Tunis;TO Pacific/Tongatapu;TR Europe/Istanbul;TT America/Port_of_Spain;TV Pacific/Funafuti
TW Asia/Taipei;TZ Africa/Dar_es_Salaam;UA Europe/Kiev;UG Africa/Kampala
US America/New_York America/Chicago America/Denver America/Phoenix America/Los_Angeles America/Anchorage America/Adak \
Pacific/Honolulu
UY America/Montevideo;UZ Asia/Tashkent;VA Europe/Vatican;VC America/St_Vincent;VE America/Caracas;VG America/Tortola
VI America/St_Thomas;VN Asia/Ho_Chi_Minh;VU Pacific/Efate;WF Pacific/Wallis;WS Pacific/Apia;XK Europe/Belgrade
YE Asia/Aden;YT Indian/Mayotte;ZA Africa/Johannesburg;ZM Africa/Lusaka;ZW Africa/Harare
`

/**
 * `zone,zone: prefix prefix`, where a country's numbers tell more than the country. Numbers of mobile phones do so in North
 * America, Brazil and Mexico; elsewhere only lines that take no messages do, so they have no place here. An area code that
 * lies across a border of zones has both.
 */
const AREAS = `
America/New_York: 1201 1202 1203 1207 1212 1215 1216 1220 1223 1227 1229 1231 1234 1239 1240 1248 1252 1260 1267 1269 1272 \
1276 1283 1301 1302 1304 1305 1313 1315 1317 1321 1324 1326 1330 1332 1336 1339 1347 1351 1352 1363 1380 1386 1401 1404 1407 \
1410 1412 1413 1419 1423 1434 1436 1440 1443 1445 1463 1470 1472 1475 1478 1484 1502 1508 1513 1516 1517 1518 1540 1551 1561 \
1567 1570 1571 1582 1585 1586 1603 1606 1607 1609 1610 1614 1616 1617 1624 1631 1640 1645 1646 1656 1667 1678 1679 1680 1681 \
1686 1689 1703 1704 1706 1716 1717 1718 1724 1727 1728 1732 1734 1740 1743 1754 1757 1762 1765 1770 1771 1772 1774 1781 1786 \
1802 1803 1804 1810 1813 1814 1821 1826 1828 1835 1838 1839 1840 1843 1845 1848 1854 1856 1857 1859 1860 1862 1863 1864 1865 \
1878 1904 1908 1910 1912 1914 1917 1919 1929 1934 1937 1941 1943 1947 1948 1954 1959 1973 1978 1980 1984 1989
America/New_York,America/Chicago: 1219 1270 1364 1448 1574 1812 1850 1906 1930 1931
America/Chicago: 1205 1210 1214 1217 1218 1224 1225 1228 1235 1251 1254 1256 1262 1274 1281 1309 1312 1314 1316 1318 1319 1320 \
1325 1327 1331 1334 1337 1346 1353 1361 1402 1405 1409 1414 1417 1430 1447 1457 1464 1469 1471 1479 1483 1501 1504 1507 1512 \
1515 1531 1534 1539 1557 1563 1572 1573 1580 1601 1608 1612 1615 1618 1621 1629 1630 1636 1641 1651 1659 1660 1662 1682 1708 \
1712 1713 1715 1726 1729 1730 1731 1737 1763 1769 1773 1779 1806 1815 1816 1817 1830 1832 1847 1861 1870 1872 1901 1903 1913 \
1918 1920 1924 1936 1938 1940 1945 1952 1956 1972 1975 1979 1985
America/Chicago,America/Denver: 1308 1432 1605 1620 1701 1785
America/Denver: 1303 1307 1385 1406 1435 1505 1575 1719 1720 1748 1801 1915 1970 1983
America/Phoenix: 1480 1520 1602 1623
America/Phoenix,America/Denver: 1928
America/Denver,America/Los_Angeles: 1208 1458 1541 1775 1986
America/Los_Angeles: 1206 1209 1213 1253 1279 1310 1323 1341 1350 1357 1360 1369 1408 1415 1424 1425 1442 1503 1509 1510 1530 \
1559 1562 1564 1619 1626 1628 1650 1657 1661 1669 1702 1707 1714 1725 1738 1747 1760 1805 1818 1820 1831 1837 1840 1858 1909 \
1916 1925 1949 1951 1971
America/Anchorage,America/Adak: 1907
Pacific/Honolulu: 1808
America/Vancouver: 1236 1604 1778
America/Vancouver,America/Edmonton: 1250 1257 1672
America/Edmonton: 1368 1403 1587 1780 1825
America/Regina: 1306 1474 1639
America/Winnipeg: 1204 1431 1584
America/Toronto: 1226 1249 1263 1289 1343 1354 1365 1367 1382 1416 1437 1438 1450 1468 1514 1519 1548 1579 1581 1613 1647 1683 \
1705 1742 1753 1819 1873 1905 1942
America/Toronto,America/Blanc-Sablon: 1418
America/Toronto,America/Winnipeg: 1807
America/Halifax: 1428 1506 1782 1902
America/St_Johns,America/Halifax: 1709 1879
America/Toronto,America/Winnipeg,America/Edmonton,America/Whitehorse: 1867
America/Sao_Paulo: 5511 5512 5513 5514 5515 5516 5517 5518 5519 5521 5522 5524 5527 5528 5531 5532 5533 5534 5535 5537 5538 \
5541 5542 5543 5544 5545 5546 5547 5548 5549 5551 5553 5554 5555 5561 5562 5563 5564 5571 5573 5574 5575 5577 5579 5582 5583 \
5584 5585 5586 5587 5588 5589 5591 5593 5594 5596 5598 5599
America/Sao_Paulo,America/Noronha: 5581
America/Manaus: 5565 5566 5567 5569 5592 5595
America/Manaus,America/Rio_Branco: 5597
America/Rio_Branco: 5568
America/Mexico_City: 522 5233 524 5255 5256 527 5281 52961 52962 52963 52964 52966 52967 52993 52999 52981 52938
America/Mexico_City,America/Hermosillo: 523
America/Mexico_City,America/Matamoros: 528
America/Mexico_City,America/Cancun: 529
America/Cancun: 52983 52984 52987 52998
America/Tijuana: 52646 52661 52664 52665 52686
America/Hermosillo: 52612 52613 52615 52622 52624 52631 52632 52633 52634 52637 52641 52642 52644 52645 52647 52651 52662 52667 \
52668 52669 52672 52673 52687 52694 52695 52696 52697 52698
America/Ciudad_Juarez: 52656
America/Mexico_City,America/Ciudad_Juarez: 52614 52625 52626 52627 52628 52629 52635 52636 52639 52648 52649 52652 52659
`

const groups: string[][] = []
const groupsByName = new Map<string, number>()

/** Numbers that may be in the same zones share one. */
function groupNamed(zones: string[]): number {
  const name = zones.join()
  const known = groupsByName.get(name)
  if (known !== undefined) return known
  groupsByName.set(name, groups.length)
  return groups.push(zones) - 1
}

const entriesOf = (table: string, separator: RegExp): string[] => table.trim().split(separator)

const byCountry = new Map(
  entriesOf(COUNTRIES, /[;\n]/).map(entry => {
    const [iso = '', ...zones] = entry.split(' ')
    return [iso, groupNamed(zones)] as const
  }),
)

const byArea = new PrefixMap(
  entriesOf(AREAS, /\n/).flatMap(entry => {
    const [zones = '', prefixes = ''] = entry.split(': ')
    const group = String(groupNamed(zones.split(',')))
    return prefixes.split(' ').map(prefix => [prefix, group] as const)
  }),
)

const NOWHERE = groupNamed(['UTC'])

/** The group of zones that a number, digits only and international, may be in: an index for {@link zonesOf}. What no country has is in UTC. */
export function zoneGroupOf(digits: string): number {
  const area = byArea.ownerOf(digits)
  return area !== '' ? Number(area) : (byCountry.get(countryOf(digits)) ?? NOWHERE)
}

/** IANA names, at least one; the first is where most people live. */
export const zonesOf = (group: number): readonly string[] => groups[group] as string[]

/** How many groups there are; they are numbered from 0. */
export const zoneGroups = groups.length
